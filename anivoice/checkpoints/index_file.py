"""Reading a faiss `IVF{n},Flat` index without faiss: the layout of SPEC 7, every size checked against the file.

faiss itself trusts what it reads; a damaged file could end the whole process.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidModelFile

METRIC_L2 = 1
HEADER = struct.Struct("<iqqqBi")


@dataclass(frozen=True)
class IvfIndex:
    """The stored vectors and their cells. `num_probes` cells are searched (1 in the files of this field)."""

    centroids: NDArray[np.float32]
    """`[num_cells, dim]`"""
    vectors: NDArray[np.float32]
    """`[num_vectors, dim]` in the order of their ids"""
    cell_of_vector: NDArray[np.int64]
    """`[num_vectors]`"""
    num_probes: int

    @property
    def dim(self) -> int:
        return int(self.centroids.shape[1])


def read_index_file(path: Path) -> IvfIndex:
    """The index in `path`. Raises InvalidModelFile if it is no such file, damaged, or trained but empty."""
    try:
        reader = _Reader(path.read_bytes(), path.name)
        return _parse(reader)
    except OSError as error:
        raise InvalidModelFile(f"index {path.name} cannot be read: {error.strerror}") from error
    except struct.error as error:
        raise InvalidModelFile(f"index {path.name} is truncated: download or export it again") from error


class _Reader:
    """A cursor over the file's bytes that refuses to read past the end."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.at = 0

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return values

    def u64(self) -> int:
        return self.unpack(struct.Struct("<Q"))[0]

    def tag(self) -> bytes:
        tag = bytes(self.data[self.at : self.at + 4])
        self.at += 4
        return tag

    def array(self, dtype: str, count: int) -> NDArray[np.generic]:
        size = np.dtype(dtype).itemsize * count
        if count < 0 or size > len(self.data) - self.at:
            raise InvalidModelFile(f"index {self.name} is truncated: download or export it again")
        values = np.frombuffer(self.data, dtype, count, self.at) if count else np.empty(0, dtype)
        self.at += size
        return values

    def fail(self, reason: str) -> InvalidModelFile:
        return InvalidModelFile(f"index {self.name} {reason}; use the voice's added_*.index (faiss IVF,Flat with L2)")


def _parse(reader: _Reader) -> IvfIndex:
    tag = reader.tag()
    if tag != b"IwFl":
        raise reader.fail(f"is not an IVF,Flat index (it begins with {tag!r})")
    dim, num_vectors, _, _, _, metric = reader.unpack(HEADER)
    if metric != METRIC_L2:
        raise reader.fail(f"measures distance by metric {metric}, not L2")
    num_cells, num_probes = reader.u64(), reader.u64()
    if not (0 < dim <= 65536 and num_cells > 0 and num_probes > 0 and num_vectors >= 0):
        raise reader.fail("has a damaged header")
    centroids = _read_centroids(reader, dim, num_cells)
    _skip_direct_map(reader)
    sizes = _read_cell_sizes(reader, dim, num_cells)
    if num_vectors == 0:
        raise reader.fail("is trained but empty (a trained_*.index)")
    if int(sizes.sum()) != num_vectors:
        raise reader.fail("has a damaged list of cells")
    return _read_cells(reader, centroids, sizes, num_vectors, min(num_probes, num_cells))


def _read_centroids(reader: _Reader, dim: int, num_cells: int) -> NDArray[np.float32]:
    tag = reader.tag()
    quantizer_dim, num_centroids, _, _, _, metric = reader.unpack(HEADER)
    count = reader.u64()
    if tag not in (b"IxF2", b"IxFl") or metric != METRIC_L2:
        raise reader.fail("has an unknown quantizer")
    if (quantizer_dim, num_centroids, count) != (dim, num_cells, dim * num_cells):
        raise reader.fail("has a damaged quantizer")
    centroids = reader.array("<f4", count).astype(np.float32).reshape(num_cells, dim)
    if not np.isfinite(centroids).all():
        raise reader.fail("holds numbers that are not finite")
    return centroids


def _skip_direct_map(reader: _Reader) -> None:
    reader.array("<u1", 1)
    reader.array("<i8", reader.u64())


def _read_cell_sizes(reader: _Reader, dim: int, num_cells: int) -> NDArray[np.int64]:
    if reader.tag() != b"ilar":
        raise reader.fail("has an unknown kind of lists")
    if (reader.u64(), reader.u64()) != (num_cells, 4 * dim):
        raise reader.fail("has damaged lists")
    form, count = reader.tag(), reader.u64()
    sizes = np.zeros(num_cells, np.int64)
    if form == b"full" and count == num_cells:
        sizes[:] = reader.array("<u8", count)
    elif form == b"sprs" and count % 2 == 0:
        pairs = reader.array("<u8", count).reshape(-1, 2).astype(np.int64)
        if (pairs[:, 0] < 0).any() or (pairs[:, 0] >= num_cells).any():
            raise reader.fail("has damaged lists")
        sizes[pairs[:, 0]] = pairs[:, 1]
    else:
        raise reader.fail("has damaged lists")
    if (sizes < 0).any() or (sizes > len(reader.data)).any():
        raise reader.fail("has damaged lists")
    return sizes


def _read_cells(
    reader: _Reader, centroids: NDArray[np.float32], sizes: NDArray[np.int64], num_vectors: int, num_probes: int
) -> IvfIndex:
    dim = centroids.shape[1]
    if num_vectors * (4 * dim + 8) > len(reader.data) - reader.at:
        raise InvalidModelFile(f"index {reader.name} is truncated: download or export it again")
    vectors = np.empty((num_vectors, dim), np.float32)
    cells = np.full(num_vectors, -1, np.int64)
    for cell in np.flatnonzero(sizes):
        size = int(sizes[cell])
        stored = reader.array("<f4", size * dim).reshape(size, dim)
        ids = reader.array("<i8", size).astype(np.int64)
        if ids.min() < 0 or ids.max() >= num_vectors:
            raise reader.fail("has vectors whose ids are out of range")
        vectors[ids] = stored
        cells[ids] = cell
    if (cells < 0).any():
        raise reader.fail("has vectors with the same id")
    if not np.isfinite(vectors).all():
        raise reader.fail("holds numbers that are not finite")
    return IvfIndex(centroids, vectors, cells, num_probes)
