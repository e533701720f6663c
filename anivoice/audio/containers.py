"""Which container a recording is in, by its first bytes: the name that FFmpeg's reader of it has.

FFmpeg never guesses here. What it may guess includes playlists, which make it open other files and addresses.
"""

import os
import struct
from typing import BinaryIO

from anivoice.errors import UndecodableAudio

SNIFFED_BYTES = 16
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"RIFF", "wav"),
    (0, b"RF64", "wav"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"wvpk", "wv"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"#!AMR", "amr"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
)
ID3_HEADER_BYTES = 10

SOUND_ITSELF = (b"mdat", b"free", b"skip", b"wide")
"""Boxes of an MP4 file that hold no tables; they may be most of the file."""

MAX_TABLES_BYTES = 64 << 20
BOX_BYTES = 8
COUNT_OFFSETS = {b"stsz": 16, b"stz2": 16, b"trun": 12}
"""Boxes of an MP4 file that claim a number of packets, and where in the box the number stands."""


def sniff(file: BinaryIO) -> str | None:
    """FFmpeg's name of the container that `file` (at its beginning, where it is left) begins as; None: not known."""
    start = _read_at(file, 0)
    if start.startswith(b"ID3") and len(start) >= ID3_HEADER_BYTES:
        start = _read_at(file, _id3_bytes(start)) or start
        file.seek(0)
        return _by_signature(start) or "mp3"
    file.seek(0)
    return _by_signature(start)


def _read_at(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.read(SNIFFED_BYTES)


def _id3_bytes(header: bytes) -> int:
    """Length of an ID3 tag with its header: four times seven bits, and ten more where it has a footer."""
    length = 0
    for byte in header[6:10]:
        length = length << 7 | byte & 0x7F
    return ID3_HEADER_BYTES + length + (ID3_HEADER_BYTES if header[5] & 0x10 else 0)


def _by_signature(start: bytes) -> str | None:
    for offset, signature, name in SIGNATURES:
        if start[offset:].startswith(signature):
            return name
    if len(start) >= 2 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        # An MPEG frame. Layer 0 is AAC with ADTS headers, 1 to 3 are what MP3 decoders read.
        return "mp3" if start[1] & 0x06 else "aac"
    return None


def check_mp4(file: BinaryIO) -> None:
    """Raises UndecodableAudio for an MP4 file whose tables claim more packets than the file has bytes.

    FFmpeg makes 32 bytes of memory of each packet that a table of 20 bytes claims.
    """
    num_file_bytes = file.seek(0, os.SEEK_END)
    for tables in _tables_of_mp4(file, num_file_bytes):
        if b"cmov" in tables:
            raise UndecodableAudio("audio_file is an MP4 file with packed tables, which are not read; save it anew")
        for name, offset in COUNT_OFFSETS.items():
            _check_counts(tables, name, offset, num_file_bytes)
    file.seek(0)


def _tables_of_mp4(file: BinaryIO, num_file_bytes: int) -> list[bytes]:
    """The contents of all boxes at the top that are not the sound itself."""
    position, num_read, tables = 0, 0, []
    while position + BOX_BYTES <= num_file_bytes:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(BOX_BYTES))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        size = min(size or num_file_bytes, num_file_bytes - position)
        if size < BOX_BYTES:
            break
        if name not in SOUND_ITSELF:
            num_read += size
            if num_read > MAX_TABLES_BYTES:
                raise UndecodableAudio("audio_file is an MP4 file with too large tables; send it as FLAC or WAV")
            file.seek(position)
            tables.append(file.read(size))
        position += size
    return tables


def _check_counts(tables: bytes, name: bytes, offset: int, num_file_bytes: int) -> None:
    """The tables are searched, not walked: FFmpeg takes them wherever they lie."""
    at = tables.find(name, 4)
    while at >= 0:
        start = at - 4
        size = int.from_bytes(tables[start:at], "big")
        count = int.from_bytes(tables[start + offset : start + offset + 4], "big")
        if offset + 4 <= size <= len(tables) - start and count > num_file_bytes:
            raise UndecodableAudio("audio_file is a damaged MP4 file: it claims more packets than it has bytes")
        at = tables.find(name, at + 1)
