"""Both ways of searching, where the golden vectors have no case: several cells, extreme distances, few vectors."""

import numpy as np
import pytest
import torch

from anivoice.checkpoints.index_file import IvfIndex
from anivoice.stages.retrieval import DeviceSearch, Retriever

CPU = torch.device("cpu")
DIM = 16


def make_index(num_vectors: int, num_cells: int, num_probes: int) -> IvfIndex:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((num_vectors, DIM)).astype(np.float32)
    centroids = vectors[:num_cells].copy()
    distances = np.square(vectors[:, None] - centroids[None]).sum(2)
    return IvfIndex(centroids, vectors, distances.argmin(1).astype(np.int64), num_probes)


def retrievers(index: IvfIndex) -> list[Retriever]:
    by_faiss, by_products = Retriever(index, CPU), Retriever(index, CPU)
    by_products.search_neighbours = DeviceSearch(index, CPU)
    return [by_faiss, by_products]


@pytest.mark.parametrize("num_probes", [1, 3, 20])
def test_both_searches_find_the_same_in_several_cells(num_probes: int) -> None:
    by_faiss, by_products = retrievers(make_index(300, 20, num_probes))
    query = torch.randn(50, DIM, generator=torch.Generator().manual_seed(1))
    distances, ids = by_faiss.search(query)
    found, found_ids = by_products.search(query)
    assert torch.equal(found_ids, ids)
    torch.testing.assert_close(found, distances)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1.0, 1e8])
def test_near_and_far_vectors_give_finite_features(scale: float) -> None:
    index = make_index(40, 1, 1)
    index = IvfIndex(index.centroids * np.float32(scale), index.vectors * np.float32(scale), index.cell_of_vector, 1)
    query = torch.from_numpy(index.vectors[:5] * np.float32(1.01))
    for retriever in retrievers(index):
        blended = retriever.blend(query, 1.0)
        assert torch.isfinite(blended).all()
        assert not torch.equal(blended, query)


def test_fewer_vectors_than_neighbours() -> None:
    by_faiss, by_products = retrievers(make_index(3, 1, 1))
    query = torch.randn(4, DIM, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(by_products.blend(query, 0.5), by_faiss.blend(query, 0.5))


def test_a_frame_whose_cell_is_empty_stays_as_it_is() -> None:
    index = make_index(40, 2, 1)
    far = np.stack([index.centroids[0], np.full(DIM, 100, np.float32)])
    index = IvfIndex(far, index.vectors, np.zeros(40, np.int64), 1)
    query = torch.full((2, DIM), 99.0)
    for retriever in retrievers(index):
        assert torch.equal(retriever.blend(query, 0.75), query)


def test_the_vectors_are_on_the_device_once() -> None:
    retriever = Retriever(make_index(40, 2, 1), torch.device("meta"))
    assert isinstance(retriever.search_neighbours, DeviceSearch)
    assert retriever.vectors is retriever.search_neighbours.vectors
