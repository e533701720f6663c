"""Index files that are damaged, foreign or hostile: one sentence, never a crash, never a giant allocation."""

import struct
from pathlib import Path

import faiss
import numpy as np
import pytest
from conformance import OWN_VECTORS
from hypothesis import given, settings
from hypothesis import strategies as st

from anivoice.checkpoints.index_file import read_index_file
from anivoice.errors import InvalidModelFile

GOOD = (OWN_VECTORS / "retrieval" / "added_small_256.index").read_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index") / "voice.index"


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InvalidModelFile) as error:
        read_index_file(path)
    message = str(error.value)
    assert "voice.index" in message
    assert "\n" not in message
    return message


def test_it_reads_what_faiss_reads(path: Path) -> None:
    path.write_bytes(GOOD)
    ours = read_index_file(path)
    theirs = faiss.read_index(str(path))
    np.testing.assert_array_equal(ours.vectors, theirs.reconstruct_n(0, theirs.ntotal))
    assert (ours.num_probes, len(ours.centroids), ours.dim) == (theirs.nprobe, theirs.nlist, theirs.d)


def test_it_reads_what_faiss_writes_with_full_and_sparse_lists(path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    index = faiss.index_factory(16, "IVF9,Flat")
    index.train(vectors)
    for num_added in (3, 400):
        index.reset()
        index.add(vectors[:num_added])
        faiss.write_index(index, str(path))
        np.testing.assert_array_equal(read_index_file(path).vectors, vectors[:num_added])


def test_truncated_files_are_refused(path: Path) -> None:
    for length in [*range(1, 130, 7), len(GOOD) // 2, len(GOOD) - 1]:
        refused(path, GOOD[:length])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 50, b"PK\x03\x04" + bytes(500), b"IwFl"])
def test_foreign_files_are_refused(path: Path, content: bytes) -> None:
    refused(path, content)


def test_a_file_that_promises_giants_allocates_nothing(path: Path) -> None:
    header = bytearray(GOOD)
    struct.pack_into("<q", header, 8, 2**60)
    refused(path, bytes(header))


def test_other_kinds_of_index_are_named(path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
    for factory, metric in (("Flat", faiss.METRIC_L2), ("IVF4,Flat", faiss.METRIC_INNER_PRODUCT)):
        index = faiss.index_factory(16, factory, metric)
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(path))
        assert "IVF,Flat" in refused(path, path.read_bytes())


def test_numbers_that_are_not_finite_are_refused(path: Path) -> None:
    content = bytearray(GOOD)
    content[-2000:-1996] = struct.pack("<f", float("nan"))
    assert "finite" in refused(path, bytes(content))


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_a_flipped_byte_is_read_or_refused(path: Path, position: int, value: int) -> None:
    content = bytearray(GOOD)
    content[position] = value
    path.write_bytes(bytes(content))
    try:
        index = read_index_file(path)
    except InvalidModelFile:
        return
    assert np.isfinite(index.vectors).all()
    assert index.cell_of_vector.min() >= 0
