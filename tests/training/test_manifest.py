"""The manifest of a corpus: who says what when, and what is wrong with a line."""

from pathlib import Path

import numpy as np
import pytest
from training_corpora import write_corpus

from anivoice.errors import InvalidParameter
from anivoice.training.manifest import read_manifest
from anivoice.training.phones import INDEX_OF_PHONE


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path, num_sentences=1)


def test_phones_are_found_at_their_times(corpus: Path) -> None:
    clip = read_manifest(corpus)[0]
    assert (clip.person, clip.split, clip.path.is_file()) == ("anna", "target_train", True)
    found = clip.phones_at(np.array([0.0, 0.1, 0.39, 0.4, 0.62, 0.95, 3.0]))
    silence, iy, s = (INDEX_OF_PHONE[phone] for phone in ("SIL", "IY", "S"))
    assert found.tolist() == [silence, iy, iy, s, -1, silence, silence]


@pytest.mark.parametrize(("old", "new"), [('"IY"', '"IYY"'), ('"person"', '"name"'), ("{", ""), ("0.4", '"x"')])
def test_a_bad_line_is_named(corpus: Path, old: str, new: str) -> None:
    path = corpus / "manifest.jsonl"
    lines = path.read_text("utf-8").splitlines()
    lines[1] = lines[1].replace(old, new, 1)
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(InvalidParameter, match=r"line 2 of manifest\.jsonl"):
        read_manifest(corpus)


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"holds no manifest\.jsonl"):
        read_manifest(tmp_path)
