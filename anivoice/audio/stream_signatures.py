"""Which container a message begins with, where bare samples are expected: played, it would be noise. Only what no
samples look like counts (a file's container, by weaker signs: containers.py).
"""

MAGIC: dict[str, tuple[int, bytes]] = {
    "WebM or Matroska": (0, b"\x1a\x45\xdf\xa3"),
    "Ogg": (0, b"OggS"),
    "FLAC": (0, b"fLaC"),
    "MP3 (behind an ID3 tag)": (0, b"ID3"),
    "MP4 or M4A": (4, b"ftyp"),
    "AIFF": (0, b"FORM"),
    "CAF": (0, b"caff"),
    "Wave64": (0, b"riff\x2e\x91\xcf\x11"),
    "a big-endian WAV": (0, b"RIFX"),
}
"""Name: where its magic bytes stand, and what they are."""

MPEG_BIT_RATES_KBPS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
"""Layer III, by the two bits of the version: MPEG-1, MPEG-2."""

MPEG_RATES_HZ = {3: (44100, 48000, 32000, 0), 2: (22050, 24000, 16000, 0)}
MPEG_HEADER_BYTES = 4


def container_name(message: bytes) -> str | None:
    """The container's name; None if the message may well be samples."""
    for name, (start, magic) in MAGIC.items():
        if message[start : start + len(magic)] == magic:
            return name
    return "MP3" if _is_mp3(message) else None


def _is_mp3(message: bytes) -> bool:
    """Two frame headers at the right distance: a single one could be a sample."""
    num_bytes = _mp3_frame_bytes(message)
    return num_bytes > 0 and _mp3_frame_bytes(message[num_bytes:]) > 0


def _mp3_frame_bytes(data: bytes) -> int:
    """Length of the frame that begins here; 0 if none does."""
    if len(data) < MPEG_HEADER_BYTES or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return 0
    version = data[1] >> 3 & 3
    if version not in MPEG_RATES_HZ:
        return 0
    rate_hz, kbps = MPEG_RATES_HZ[version][data[2] >> 2 & 3], MPEG_BIT_RATES_KBPS[version][data[2] >> 4]
    if rate_hz == 0 or kbps == 0:
        return 0
    return (144 if version == 3 else 72) * 1000 * kbps // rate_hz + (data[2] >> 1 & 1)
