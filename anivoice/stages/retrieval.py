"""Retrieval: content features are pulled towards those of the voice's own recordings (SPEC 7, 8).

Shape letters: N frames of 20 ms, F feature dimensions, K neighbours, P frames of 10 ms, V stored vectors.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from anivoice.checkpoints.index_file import IvfIndex

NUM_NEIGHBOURS = 8
MISSING_DISTANCE = float(np.finfo(np.float32).max)
"""What faiss gives as the distance of a neighbour that does not exist."""

NUM_CANDIDATES = 32
MAX_DISTANCES = 2**26
"""The device search is cut into pieces of at most this many distances (256 MiB)."""

Search = Callable[[Tensor], tuple[Tensor, Tensor]]


class Retriever:
    """The index of one voice, on one device. On the CPU faiss searches, elsewhere a matrix product does."""

    def __init__(self, index: IvfIndex, device: torch.device) -> None:
        self.dim = index.dim
        self.search_neighbours: Search
        if device.type == "cpu":
            self.search_neighbours = faiss_search(index)
            self.vectors = torch.from_numpy(index.vectors)
        else:
            search = DeviceSearch(index, device)
            self.search_neighbours = search
            self.vectors = search.vectors
        self.num_bytes = index.vectors.nbytes
        """Memory beside the index itself: faiss, or the device, has the vectors once more."""

    def search(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, F]` -> squared L2 distances `[N, K]`, nearest first, and vector numbers `[N, K]`, -1 where missing."""
        return self.search_neighbours(features)

    def blend(self, features: Tensor, index_rate: float) -> Tensor:
        """`index_rate` of what is retrieved for each frame plus the rest of the frame itself. `[N, F]` -> `[N, F]`.

        Weights are the inverse squares of the squared distances, here relative to the nearest one's, which nothing
        makes too large or too small for float32. A frame that equals a stored vector takes that vector;
        a frame whose cell holds no vector stays as it is.
        """
        if index_rate == 0 or len(features) == 0:
            return features
        query = features.float()
        distances, ids = self.search(query)
        exact = distances == 0
        weights = torch.where(exact.any(1, keepdim=True), exact.float(), (distances[:, :1] / distances).square())
        weights = weights.masked_fill(ids < 0, 0.0)
        total = weights.sum(1, keepdim=True)
        retrieved = torch.einsum("nk,nkf->nf", weights / total, self.vectors[ids.clamp_min(0)])
        retrieved = torch.where(total > 0, retrieved, query)
        return (index_rate * retrieved + (1 - index_rate) * query).to(features.dtype)


def faiss_search(index: IvfIndex) -> Search:
    """Search on the CPU by a faiss index rebuilt from the checked arrays."""
    import faiss

    quantizer = faiss.IndexFlatL2(index.dim)
    quantizer.add(index.centroids)
    ivf = faiss.IndexIVFFlat(quantizer, index.dim, len(index.centroids))
    ivf.is_trained = True
    ivf.nprobe = index.num_probes
    ids = np.arange(len(index.vectors), dtype=np.int64)
    ivf.add_core(
        len(ids), faiss.swig_ptr(index.vectors), faiss.swig_ptr(ids), faiss.swig_ptr(index.cell_of_vector), None
    )
    ivf.ntotal = len(ids)

    def search(features: Tensor) -> tuple[Tensor, Tensor]:
        distances, neighbours = ivf.search(np.ascontiguousarray(features.numpy()), NUM_NEIGHBOURS)
        return torch.from_numpy(distances), torch.from_numpy(neighbours)

    return search


class DeviceSearch:
    """The same search by matrix products and top-k: no synchronisation, no work on the host."""

    def __init__(self, index: IvfIndex, device: torch.device) -> None:
        self.centroids = torch.from_numpy(index.centroids).to(device)
        self.vectors = torch.from_numpy(index.vectors).to(device)
        self.cell_of_vector = torch.from_numpy(index.cell_of_vector).to(device)
        self.squares = self.vectors.square().sum(1)
        self.num_probes = index.num_probes

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        num_frames = max(1, MAX_DISTANCES // len(self.vectors))
        parts = [self._search(part) for part in torch.split(features, num_frames)]
        return torch.cat([d for d, _ in parts]), torch.cat([i for _, i in parts])

    def _search(self, query: Tensor) -> tuple[Tensor, Tensor]:
        cells = torch.cdist(query, self.centroids).topk(self.num_probes, largest=False).indices
        probed = torch.zeros(len(query), len(self.centroids), dtype=torch.bool, device=query.device)
        in_cell = probed.scatter_(1, cells, True)[:, self.cell_of_vector]
        rough = self.squares - 2 * query @ self.vectors.t()
        rough = rough.masked_fill(~in_cell, float("inf"))
        num_candidates = min(NUM_CANDIDATES, len(self.vectors))
        rough_distances, candidates = rough.topk(num_candidates, largest=False)
        exact = (self.vectors[candidates] - query[:, None, :]).square().sum(2)
        exact = exact.masked_fill(torch.isinf(rough_distances), MISSING_DISTANCE)
        distances, order = exact.topk(min(NUM_NEIGHBOURS, num_candidates), largest=False, sorted=True)
        ids = candidates.gather(1, order).masked_fill(distances >= MISSING_DISTANCE, -1)
        return distances, ids


def repeat_frames(features: Tensor) -> Tensor:
    """20 ms frames -> 10 ms frames: each one twice. `[..., N, F]` -> `[..., 2 N, F]`."""
    return features.repeat_interleave(2, dim=-2)


def protect_unvoiced(blended: Tensor, original: Tensor, f0_hz: Tensor, protect: Tensor) -> Tensor:
    """Where a frame is unvoiced (f0 below 1 Hz), only `protect` of the retrieval's effect stays (SPEC 8).

    `blended` and `original` `[B, P, F]`, `f0_hz` `[B, P]`, `protect` `[B]`; 0.5 and more switches it off.
    """
    own_share = torch.where(protect < 0.5, protect, 1.0).unsqueeze(1)
    share = torch.where(f0_hz < 1, own_share, 1.0).to(blended.dtype).unsqueeze(2)
    return blended * share + original * (1 - share)
