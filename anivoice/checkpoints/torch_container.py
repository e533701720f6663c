"""torch's two checkpoint containers: the zip archive (since 1.6) and the older stream of pickles.

Reads their structure without torch.load: the pickle becomes plain records (`pickle_records`), and every size that the
file declares is compared with the bytes it really has before memory is spent on it.
"""

import io
import math
import os
import struct
import zipfile
from dataclasses import dataclass, field
from typing import BinaryIO

import torch

from anivoice.checkpoints.pickle_records import (
    MAX_LINE_BYTES,
    PickleContent,
    StorageRecord,
    TensorRecord,
    read_pickle,
)

ZIP_MAGIC = b"PK\x03\x04"
# A pickled long: what torch before 1.6 writes first.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MAX_PICKLE_BYTES = 64 << 20
MAX_ZIP_MEMBERS = 100_000
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.uint8,
}


@dataclass
class TorchContainer:
    """An opened checkpoint: its records and, read when asked for, its tensors. Valid while its file is open."""

    file: BinaryIO
    content: PickleContent
    # Where each storage lies: key -> (position in the file, size in bytes).
    extents: dict[str, tuple[int, int]]
    _storages: dict[StorageRecord, torch.Tensor] = field(default_factory=dict)

    def tensor(self, record: TensorRecord) -> torch.Tensor:
        """The tensor of a record, its dtype as stored. Raises ValueError if the record does not fit the file."""
        _check_view(record)
        return torch.as_strided(self._storage(record.storage), record.shape, record.strides, record.offset)

    def _storage(self, record: StorageRecord) -> torch.Tensor:
        if record not in self._storages:
            self._storages[record] = self._read_storage(record)
        return self._storages[record]

    def _read_storage(self, record: StorageRecord) -> torch.Tensor:
        dtype = _DTYPES.get(record.type_name)
        if dtype is None or record.key not in self.extents:
            raise ValueError(f"storage {record.key!r} of type {record.type_name!r} is missing or unknown")
        position, num_bytes = self.extents[record.key]
        if num_bytes != record.num_elements * dtype.itemsize:
            raise ValueError(f"storage {record.key!r} has another size than the file says")
        if num_bytes == 0:
            return torch.empty(0, dtype=dtype)
        self.file.seek(position)
        data = bytearray(self.file.read(num_bytes))
        if len(data) != num_bytes:
            raise ValueError("the file ends too early")
        return torch.frombuffer(data, dtype=dtype)


def open_container(file: BinaryIO) -> TorchContainer:
    """Reads a checkpoint's structure. `file` is open for reading at its beginning, and seekable.

    Raises ValueError (or zipfile's BadZipFile, or OSError) for anything that is not a sound torch checkpoint.
    """
    magic = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if magic.startswith(ZIP_MAGIC):
        return _open_zip(file)
    if magic == LEGACY_MAGIC:
        return _open_legacy(file)
    raise ValueError(_describe_foreign(magic))


def _describe_foreign(magic: bytes) -> str:
    if not magic:
        return "it is empty"
    if magic.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, probably saved in place of the file itself"
    if magic.startswith(b"version https"):
        return "it is a Git LFS pointer, not the file itself"
    return "it is no torch checkpoint"


def _open_zip(file: BinaryIO) -> TorchContainer:
    num_file_bytes = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = _check_members(archive.infolist(), num_file_bytes)
        pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("it is a zip archive, but no torch checkpoint")
        prefix = pickles[0].removesuffix("data.pkl")
        if members[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ValueError("its description is too large")
        byteorder = f"{prefix}byteorder"
        if byteorder in members and archive.read(byteorder) != b"little":
            raise ValueError("it was written on a big-endian machine")
        content = read_pickle(io.BytesIO(archive.read(pickles[0])))
    data_prefix = f"{prefix}data/"
    extents = {
        name.removeprefix(data_prefix): (_data_position(file, info), info.file_size)
        for name, info in members.items()
        if name.startswith(data_prefix)
    }
    return TorchContainer(file, content, extents)


def _check_members(infos: list[zipfile.ZipInfo], num_file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """torch stores its entries uncompressed: anything else is not torch's, and could be a zip bomb."""
    if len(infos) > MAX_ZIP_MEMBERS:
        raise ValueError("it has too many entries")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise ValueError("two of its entries have the same name")
    if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in infos):
        raise ValueError("its entries are compressed, which torch never does")
    if sum(info.file_size for info in infos) > num_file_bytes:
        raise ValueError("its entries claim to be larger than the file")
    return members


def _data_position(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin: behind its local header, which ends with the lengths of name and extra."""
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) != 30 or not header.startswith(ZIP_MAGIC):
        raise ValueError("an entry's header is damaged")
    num_name_bytes, num_extra_bytes = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + int(num_name_bytes) + int(num_extra_bytes)


def _open_legacy(file: BinaryIO) -> TorchContainer:
    """Magic number, protocol, system info, the objects, the list of storage keys, then each storage."""
    num_file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    stream = _ClampedStream(file, num_file_bytes)
    _magic, protocol, system_info = (read_pickle(stream).root for _ in range(3))
    if protocol != 1001 or not isinstance(system_info, dict) or system_info.get("little_endian") is not True:
        raise ValueError("it was written by an unknown version of torch, or on a big-endian machine")
    content = read_pickle(stream)
    keys = read_pickle(stream).root
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is malformed")
    item_sizes = _item_sizes(content.root)
    return TorchContainer(file, content, _legacy_extents(file, [str(key) for key in keys], item_sizes, num_file_bytes))


def _legacy_extents(
    file: BinaryIO, keys: list[str], item_sizes: dict[str, int], num_file_bytes: int
) -> dict[str, tuple[int, int]]:
    extents: dict[str, tuple[int, int]] = {}
    position = file.tell()
    for key in keys:
        file.seek(position)
        header = file.read(8)
        if len(header) != 8 or key not in item_sizes or key in extents:
            raise ValueError("its storages do not match its list of them")
        (num_elements,) = struct.unpack("<q", header)
        num_bytes = num_elements * item_sizes[key]
        position += 8 + num_bytes
        if num_elements < 0 or position > num_file_bytes:
            raise ValueError("the file ends too early")
        extents[key] = (position - num_bytes, num_bytes)
    return extents


def _item_sizes(root: object) -> dict[str, int]:
    """Bytes per element of every storage that is referred to below `root`, by key."""
    sizes: dict[str, int] = {}
    pending, seen = [root], set[int]()
    while pending:
        item = pending.pop()
        if isinstance(item, TensorRecord):
            dtype = _DTYPES.get(item.storage.type_name)
            if dtype is not None:
                sizes[item.storage.key] = dtype.itemsize
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            pending.extend(item.values() if isinstance(item, dict) else item)
    return sizes


def _check_view(record: TensorRecord) -> None:
    """A tensor lies inside its storage and is no larger than it (stride 0 would make gigabytes of one number)."""
    if len(record.shape) != len(record.strides):
        raise ValueError("a tensor's shape and strides do not match")
    num_elements = math.prod(record.shape)
    if num_elements == 0:
        return
    last = record.offset + sum((size - 1) * stride for size, stride in zip(record.shape, record.strides, strict=True))
    if num_elements > record.storage.num_elements or last >= record.storage.num_elements:
        raise ValueError("a tensor reaches beyond its storage")


@dataclass
class _ClampedStream:
    """A file that never allocates more than it can deliver, whatever length a pickle asks for."""

    file: BinaryIO
    num_file_bytes: int

    def read(self, size: int, /) -> bytes:
        return self.file.read(min(size, self.num_file_bytes - self.file.tell()))

    def readline(self) -> bytes:
        return self.file.readline(MAX_LINE_BYTES)
