"""Training a content encoder from a tiny corpus: it learns, it can be stopped, and it tells."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models.small_encoders import TINY
from training_corpora import write_corpus

from anivoice.checkpoints.content_file import load_content_model
from anivoice.errors import InvalidParameter
from anivoice.models.small_encoder import SmallEncoder
from anivoice.training import content_cache
from anivoice.training.content_batches import PERSON_EXPONENT, Clips
from anivoice.training.content_cache import Copy, Shard, load_shard, make_cache
from anivoice.training.content_growth import load_base
from anivoice.training.content_training import ContentTraining, rate_factor, train_content
from anivoice.training.manifest import read_manifest

pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ContentTraining:
    """Settings of a run whose cache is made."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    settings = ContentTraining(
        folder,
        folder / "run",
        "anivoice-content-test",
        num_steps=2,
        batch_clips=2,
        window_frames=60,
        report_every=2,
        save_every=1,
        network=TINY,
    )
    train_content(settings, CPU, lambda text: None)
    return settings


def test_the_cache_holds_each_clip_with_its_phones(run: ContentTraining) -> None:
    (folder,) = (run.out / "cache").glob("shard_*")
    shard = load_shard(folder)
    assert {copy.person for copy in shard.copies} == {"anna", "bert"}
    assert len(shard.mel) == sum(copy.num_frames for copy in shard.copies)
    plain = next(copy for copy in shard.copies if copy.person == "bert" and copy.kind == 0)
    part = slice(plain.first, plain.first + plain.num_frames)
    assert set(shard.phone[part]) == {-1, 0, 11, 18, 1} or len(set(shard.phone[part])) == 5


def test_a_stopped_run_goes_on_as_if_it_had_not_been(run: ContentTraining, tmp_path: Path) -> None:
    states = []
    for name, stops in (("once", (3,)), ("twice", (1, 3))):
        out = tmp_path / name
        out.mkdir()
        (out / "cache").symlink_to(run.out / "cache")
        for num_steps in stops:
            train_content(replace(run, out=out, num_steps=num_steps, report_every=99), CPU, lambda text: None)
        states.append(torch.load(out / "state.pt", weights_only=True))
    assert states[0]["step"] == states[1]["step"] == 3
    for name, tensor in states[0]["average"].items():
        torch.testing.assert_close(tensor, states[1]["average"][name], rtol=0.05, atol=0.02)


def test_it_learns_and_tells(run: ContentTraining, tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(run.out / "cache")
    told: list[str] = []
    path = train_content(
        replace(run, out=tmp_path, num_steps=60, save_every=20, report_every=60, learning_rate=5e-3), CPU, told.append
    )
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in log] == [20, 40, 60]
    assert log[-1]["phones"] < 0.8 * log[0]["phones"]
    assert set(log[-1]["report"]["heldout"]["accuracy"]) == {"carl"}
    assert any("step 60/60" in text for text in told)
    assert load_content_model(path).encoder_id == "anivoice-content-test"


def test_a_larger_encoder_begins_where_a_smaller_one_was(run: ContentTraining) -> None:
    path = run.out / "encoder.safetensors"
    small = load_content_model(path)
    assert isinstance(small, SmallEncoder)
    grown = load_base(path, replace(TINY, ff_width=40, attention_frames=9)).eval()
    mel = torch.randn(1, 60, 80, generator=torch.Generator().manual_seed(0)) - 5
    before, after = small.encode_mel(mel), grown.encode_mel(mel)
    assert (before - after).abs().mean() < 0.05 * before.abs().mean()
    same = load_base(path, TINY).eval()
    torch.testing.assert_close(same.encode_mel(mel), before)


def test_a_run_begins_with_its_base(run: ContentTraining, tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(run.out / "cache")
    base = run.out / "encoder.safetensors"
    told: list[str] = []
    grown = replace(run, out=tmp_path, base=base, network=replace(TINY, ff_width=40), num_steps=1, learning_rate=1e-9)
    made = load_content_model(train_content(grown, CPU, told.append))
    assert "beginning with encoder.safetensors" in told
    torch.testing.assert_close(
        made.state_dict()["stem.mel_conv.weight"], load_content_model(base).state_dict()["stem.mel_conv.weight"]
    )


def test_what_cannot_work_is_refused(run: ContentTraining, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="must begin with anivoice-content"):
        train_content(replace(run, encoder_id="mine"), CPU, print)
    encoder = run.out / "encoder.safetensors"
    with pytest.raises(InvalidParameter, match="nor a smaller one"):
        load_base(encoder, replace(TINY, ff_width=8))
    with pytest.raises(InvalidParameter, match="nor a smaller one"):
        load_base(encoder, replace(TINY, width=32))
    write_corpus(tmp_path, 1)
    path = tmp_path / "manifest.jsonl"
    path.write_text(path.read_text("utf-8").replace('"bert"', '"anna"'), "utf-8")
    with pytest.raises(InvalidParameter, match="at least 2 are needed"):
        train_content(replace(run, corpus=tmp_path, out=tmp_path / "run"), CPU, print)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rate_factor(step, 4000) for step in (0, 150, 300, 2000, 4000, 9000)]
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] > rates[3] > rates[4] == rates[5] == pytest.approx(0.03)


def test_a_person_is_drawn_by_the_length_of_the_clips() -> None:
    """Long clips more often than short ones, a person with much less often than in proportion."""
    mel, phone = np.zeros((1700, 80), np.float16), np.zeros(1700, np.int8)
    lengths = {"a/long": 800, "a/short": 100, "b/only": 100}
    copies = [Copy(name, name[0], "e", "train", 0, 0, length, 1.0) for name, length in lengths.items()]
    drawn = dict(zip(lengths, Clips([Shard(mel, phone, tuple(copies))], ["a", "b"]).probabilities, strict=True))
    assert drawn["a/long"] == pytest.approx(8 * drawn["a/short"])
    assert (drawn["a/long"] + drawn["a/short"]) / drawn["b/only"] == pytest.approx(9**PERSON_EXPONENT)


def test_several_processes_make_the_same_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_cache, "CLIPS_PER_SHARD", 2)
    clips = read_manifest(write_corpus(tmp_path))[:3]
    made = [list(make_cache(clips, tmp_path / name, 1, count)) for name, count in (("one", 1), ("two", 2))]
    assert [shard.name for shard in made[0]] == [shard.name for shard in made[1]] == ["shard_0000", "shard_0001"]
    for one, two in zip(*made, strict=True):
        shards = load_shard(one), load_shard(two)
        assert shards[0].copies == shards[1].copies
        for copy in shards[0].copies:
            if copy.kind == 0:
                frames = slice(copy.first, copy.first + copy.num_frames)
                np.testing.assert_array_equal(shards[0].mel[frames], shards[1].mel[frames])
