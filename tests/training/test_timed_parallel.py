"""Other speakers' features at the places of the same phones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_corpora import write_corpus

from anivoice.stages.content_encoder import ContentEncoder
from anivoice.training.manifest import Clip, read_manifest
from anivoice.training.parallel import read_heard
from anivoice.training.product_frames import content_frames
from anivoice.training.timed_parallel import matched_times, timed_views

PHONES = (("SIL", 0.0, 0.2), ("HH", 0.2, 0.3), ("AY", 0.3, 0.6), ("SIL", 0.6, 1.0))
SLOW_PHONES = (("SIL", 0.0, 0.1), ("HH", 0.1, 0.3), ("AY", 0.3, 0.9), ("SIL", 0.9, 1.2))
OWN = Clip(Path("a.wav"), "a.wav", "a", "a", "e", "t", 1.0, "reference", PHONES)


def test_times_lead_from_phone_to_phone() -> None:
    times = matched_times(OWN, replace(OWN, seconds=1.2, phones=SLOW_PHONES))
    assert times is not None
    np.testing.assert_allclose(np.interp([0.1, 0.25, 0.45, 0.8], *times), [0.05, 0.2, 0.6, 1.05])


def test_another_sentence_has_no_times() -> None:
    assert matched_times(OWN, replace(OWN, phones=(("M", 0.0, 0.5), ("IY", 0.5, 1.0)))) is None


@pytest.fixture(scope="module")
def encoder(h768_hf_dir: Path) -> ContentEncoder:
    return ContentEncoder.load(h768_hf_dir, torch.device("cpu"), torch.float32)


def test_a_slice_gets_the_others_features_and_its_own_silence(encoder: ContentEncoder, tmp_path: Path) -> None:
    """anna0 and bert0 say the same at the same times, so that bert's own frames are what is wanted."""
    corpus = write_corpus(tmp_path)
    path = read_manifest(corpus)[0].path
    own = content_frames(read_heard(path), encoder, "v2")
    wanted = content_frames(read_heard(corpus / "bert0.wav"), encoder, "v2")
    found, warped = timed_views(corpus, encoder, "v2", 2)("anna0", 0.2, own[10:40])
    assert torch.equal(found[:25], wanted[10:35])
    assert torch.equal(found[27:], wanted[37:40])
    assert warped.shape == found.shape
    assert not torch.equal(warped[:25], found[:25])
    whole, _ = timed_views(corpus, encoder, "v2", 2)("anna0", 0.0, own)
    assert torch.equal(whole[:3], own[:3])
    assert torch.equal(timed_views(corpus, encoder, "v2", 1)("nobody", 0.0, own)[0], own)
