"""Retrieval and protect against the golden vectors, by both ways of searching."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from anivoice.errors import InvalidModelFile
from anivoice.models.checkpoints.index_file import read_index_file
from anivoice.stages.retrieval import DeviceSearch, Retriever, protect_unvoiced, repeat_frames

CASES = ["v1_256", "v2_768", "small_256"]
CPU = torch.device("cpu")


def load(folder: Path, case: str, search: str) -> tuple[dict, dict[str, torch.Tensor], Retriever]:
    side = json.loads((folder / "retrieval" / f"{case}.json").read_text())
    arrays = {name: torch.from_numpy(value) for name, value in np.load(folder / "retrieval" / f"{case}.npz").items()}
    index_file = side.get("index_file", "added_v1_256.index")
    index = read_index_file(folder / "retrieval" / index_file)
    retriever = Retriever(index, CPU)
    if search == "device":
        retriever.search_neighbours = DeviceSearch(index, CPU)
    return side, arrays, retriever


@pytest.mark.parametrize("search", ["faiss", "device"])
@pytest.mark.parametrize("case", CASES)
def test_conformance_neighbours(conformance_dir: Path, case: str, search: str) -> None:
    _, arrays, retriever = load(conformance_dir, case, search)
    distances, ids = retriever.search(arrays["query"])
    torch.testing.assert_close(distances, arrays["score"], rtol=1e-4, atol=1e-4)
    assert torch.equal(ids, arrays["ids"])


@pytest.mark.parametrize("search", ["faiss", "device"])
@pytest.mark.parametrize("case", CASES)
def test_conformance_blend(conformance_dir: Path, case: str, search: str) -> None:
    side, arrays, retriever = load(conformance_dir, case, search)
    blends = [name for name in side["expected"] if name.startswith("offline_rate")]
    assert blends
    for name in blends:
        got = retriever.blend(arrays["query"], float(name.removeprefix("offline_rate")))
        torch.testing.assert_close(got, arrays[name], **side["tolerance"])


@pytest.mark.parametrize("search", ["faiss", "device"])
@pytest.mark.parametrize("case", ["v1_256", "v2_768"])
def test_conformance_stored_vector_is_taken_alone(conformance_dir: Path, case: str, search: str) -> None:
    side, arrays, retriever = load(conformance_dir, case, search)
    is_nan = arrays["zero_dist/is_nan"].bool()
    got = retriever.blend(arrays["zero_dist/query"], 1.0)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got[is_nan], arrays["zero_dist/suggested"], **side["tolerance"])


def test_conformance_realtime_blend_from_a_frame_on(conformance_dir: Path) -> None:
    for case in ["v1_256", "v2_768"]:
        side, arrays, retriever = load(conformance_dir, case, "faiss")
        for name in (n for n in side["expected"] if n.startswith("rt_skip")):
            first = int(name.removeprefix("rt_skip")) // 2
            stated = re.search(r"index_rate ([\d.]+)", side["expected"][name]["meaning"])
            assert stated
            rate = float(stated[1])
            query = torch.cat([arrays["query"], arrays["query"][-1:]])
            query[first:] = retriever.blend(query[first:], rate)
            expected = arrays[name]
            torch.testing.assert_close(repeat_frames(query)[: len(expected)], expected, **side["tolerance"])


def test_conformance_protect(conformance_dir: Path) -> None:
    side, arrays, retriever = load(conformance_dir, "protect", "faiss")
    query, f0 = arrays["query"], arrays["pitchf"]
    blended = repeat_frames(retriever.blend(query, 0.75))
    for name in (n for n in side["expected"] if n.startswith("mixed_protect")):
        got = protect_unvoiced(blended, repeat_frames(query), f0, float(name.removeprefix("mixed_protect")))
        torch.testing.assert_close(got, arrays[name].float(), rtol=0, atol=4e-3)


def test_conformance_trained_index_is_refused_with_the_reason(conformance_dir: Path) -> None:
    with pytest.raises(InvalidModelFile, match="trained but empty"):
        read_index_file(conformance_dir / "retrieval" / "trained_empty_256.index")
