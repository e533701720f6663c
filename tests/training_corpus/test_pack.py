"""A packed corpus is small, says the same, and leaves out what is only judged on."""

from pathlib import Path

import numpy as np
from training_corpora import write_corpus

from anivoice.training.content_cache import read_audio
from anivoice.training.manifest import read_manifest
from training.pack import pack


def test_a_packed_corpus_keeps_its_clips_and_phones(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path), tmp_path / "packed"
    size = pack(corpus, out)
    before, after = read_manifest(corpus), read_manifest(out)
    assert size < 0.3 * sum(clip.path.stat().st_size for clip in before)
    assert [(c.person, c.split, c.phones) for c in before] == [(c.person, c.split, c.phones) for c in after]
    for old, new in zip(before, after, strict=True):
        spectra = [np.log(np.abs(np.fft.rfft(read_audio(clip.path)[:16000])) + 1) for clip in (old, new)]
        assert np.corrcoef(*spectra)[0, 1] > 0.6
    stamp = after[0].path.stat().st_mtime_ns
    assert pack(corpus, out) == size
    assert after[0].path.stat().st_mtime_ns == stamp


def test_what_is_only_judged_on_stays(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    manifest = corpus / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"heldout"', '"judge"'))
    pack(corpus, tmp_path / "packed")
    assert {clip.person for clip in read_manifest(tmp_path / "packed")} == {"anna", "bert"}
