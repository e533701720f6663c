"""Retrieval and protect against the golden vectors, by both ways of searching."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import blend_like_realtime, stated, vectors_dir

from anivoice.audio.segmentation import content_frames
from anivoice.checkpoints.index_file import read_index_file
from anivoice.errors import InvalidModelFile
from anivoice.frames import FRAME_SAMPLES
from anivoice.stages.retrieval import DeviceSearch, Retriever, protect_unvoiced, repeat_frames

CPU = torch.device("cpu")

Side = dict
Arrays = dict[str, torch.Tensor]


def cases_with(field: str) -> list[str]:
    """The cases that have an index of their own and an array called `field`."""
    sides = {path.stem: json.loads(path.read_text()) for path in sorted((vectors_dir() / "retrieval").glob("*.json"))}
    return [
        case
        for case, side in sides.items()
        if "index_file" in side and field in side["expected"].keys() | side["inputs"].keys()
    ]


def load(folder: Path, case: str) -> tuple[Side, Arrays]:
    side = json.loads((folder / "retrieval" / f"{case}.json").read_text())
    arrays = np.load(folder / "retrieval" / f"{case}.npz")
    return side, {name: torch.from_numpy(value) for name, value in arrays.items()}


def open_retriever(folder: Path, index_file: str, search: str = "faiss") -> Retriever:
    index = read_index_file(folder / "retrieval" / index_file)
    retriever = Retriever(index, CPU)
    if search == "device":
        retriever.search_neighbours = DeviceSearch(index, CPU)
    return retriever


@pytest.mark.parametrize("case", cases_with("query"))
def test_conformance_index_file(conformance_dir: Path, case: str) -> None:
    side, _ = load(conformance_dir, case)
    path = conformance_dir / "retrieval" / side["index_file"]
    assert sha256(path.read_bytes()).hexdigest() == side["sha256"]
    index = read_index_file(path)
    assert index.vectors.shape == (side["ntotal"], side["d"])
    assert index.centroids.shape == (side["nlist"], side["d"])
    assert index.num_probes == side["nprobe"]
    assert np.bincount(index.cell_of_vector, minlength=side["nlist"]).tolist() == side["list_sizes"]


@pytest.mark.parametrize("search", ["faiss", "device"])
@pytest.mark.parametrize("case", cases_with("ids"))
def test_conformance_neighbours(conformance_dir: Path, case: str, search: str) -> None:
    side, arrays = load(conformance_dir, case)
    distances, ids = open_retriever(conformance_dir, side["index_file"], search).search(arrays["query"])
    torch.testing.assert_close(distances, arrays["score"], **side["tolerance"])
    assert torch.equal(ids, arrays["ids"])
    if "full8" in arrays:
        assert torch.equal((ids >= 0).all(1), arrays["full8"].bool())


@pytest.mark.parametrize("search", ["faiss", "device"])
@pytest.mark.parametrize("case", cases_with("query"))
def test_conformance_blend(conformance_dir: Path, case: str, search: str) -> None:
    side, arrays = load(conformance_dir, case)
    retriever = open_retriever(conformance_dir, side["index_file"], search)
    blends = [name for name in side["expected"] if name.startswith("offline_rate")]
    assert blends
    # A frame whose cell is empty is NaN in the reference; ours leaves it as it is.
    found = (arrays["ids"] >= 0).any(1)
    for name in blends:
        got = retriever.blend(arrays["query"], float(name.removeprefix("offline_rate")))
        torch.testing.assert_close(got[found], arrays[name][found], **side["tolerance"])
        torch.testing.assert_close(got[~found], arrays["query"][~found], **side["tolerance"])


@pytest.mark.parametrize("search", ["faiss", "device"])
@pytest.mark.parametrize("case", cases_with("zero_dist/query"))
def test_conformance_stored_vector_is_taken_alone(conformance_dir: Path, case: str, search: str) -> None:
    side, arrays = load(conformance_dir, case)
    is_nan, query = arrays["zero_dist/is_nan"].bool(), arrays["zero_dist/query"]
    got = open_retriever(conformance_dir, side["index_file"], search).blend(query, 1.0)
    assert is_nan.any()
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got[is_nan], arrays["zero_dist/suggested"], **side["tolerance"])
    # The other frames, at an index rate that is not stated: one rate must explain all of them.
    moved, wanted = (got - query)[~is_nan], (arrays["zero_dist/ref"] - query)[~is_nan]
    rate = float((moved * wanted).sum() / moved.square().sum())
    assert 0 < rate < 1.01
    torch.testing.assert_close(query[~is_nan] + rate * moved, arrays["zero_dist/ref"][~is_nan], **side["tolerance"])


@pytest.mark.parametrize("case", cases_with("query"))
def test_conformance_realtime_blend(conformance_dir: Path, case: str) -> None:
    side, arrays = load(conformance_dir, case)
    retriever = open_retriever(conformance_dir, side["index_file"])
    names = [name for name in side["expected"] if name.startswith("rt_")]
    assert names
    for name in names:
        if name == "rt_block_with_missing":
            skip_head, index_rate = 0, 1.0
        else:
            skip_head = int(name.removeprefix("rt_skip"))
            index_rate = stated(side["expected"][name]["meaning"], "index_rate ")
        got = repeat_frames(blend_like_realtime(retriever, arrays["query"], skip_head, index_rate))
        torch.testing.assert_close(got[: len(arrays[name])], arrays[name], **side["tolerance"])


def test_conformance_protect(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir, "protect")
    index_file = side["what"].split("index ")[1].split(",")[0].rstrip(")")
    retriever = open_retriever(conformance_dir, index_file)
    query, f0 = arrays["query"], arrays["pitchf"]
    mixed = [name for name in side["expected"] if name.startswith("mixed_protect")]
    assert mixed
    for name in mixed:
        meaning = side["expected"][name]["meaning"]
        blended = repeat_frames(retriever.blend(query, stated(meaning, "index_rate ")))
        protect = torch.tensor([float(name.removeprefix("mixed_protect"))])
        (got,) = protect_unvoiced(blended[None], repeat_frames(query)[None], f0[None], protect)
        torch.testing.assert_close(got, arrays[name].float(), rtol=0, atol=stated(meaning, "atol "))


def test_conformance_features_decide_the_length(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir, "protect")
    num_samples = int(stated(side["expected"]["len/p_len"]["meaning"], "audio has "))
    num_frames = min(num_samples // FRAME_SAMPLES, content_frames(num_samples))
    assert arrays["len/p_len"].tolist() == [num_frames]
    assert set(arrays["len/pitch_frames"].tolist()) == {num_frames}


def test_conformance_trained_index_is_refused_with_the_reason(conformance_dir: Path) -> None:
    with pytest.raises(InvalidModelFile, match="trained but empty"):
        read_index_file(conformance_dir / "retrieval" / "trained_empty_256.index")
