"""The recipe of the corpus, as far as it needs no engine: sentences, phones, what is asked of borrowed voices."""

from pathlib import Path

import numpy as np
import pytest

from anivoice.training.phones import INDEX_OF_PHONE, PHONES, UNKNOWN
from training.corpus import borrowed, foreign
from training.corpus.aligned import lead_in
from training.corpus.flite import _segments
from training.corpus.phone_maps import ESPEAK, RADIO, to_arpabet
from training.corpus.plan import all_jobs, judge_texts
from training.corpus.text import FORTUNES_DIR, fortunes, read_lexicon, sentences, words_of

DICTIONARY = """the DH AH
boy B OY
boy(2) B OW IY
measures M EH ZH ER Z
thirty TH ER T IY
garage G ER AA ZH
of AH V
good G UH D
luck L AH K
is IH Z
'tis T IH Z
x.y. EH K S W AY
"""


@pytest.fixture
def lexicon_path(tmp_path: Path) -> Path:
    path = tmp_path / "words.dict"
    path.write_text(DICTIONARY, "utf-8")
    return path


def test_the_lexicon_keeps_words_of_letters_in_their_first_form(lexicon_path: Path) -> None:
    lexicon = read_lexicon(lexicon_path)
    assert lexicon["boy"] == ("B", "OY")
    assert set(lexicon) == {"the", "boy", "measures", "thirty", "garage", "of", "good", "luck", "is", "'tis"}


def test_sayings_with_unknown_words_are_left_out(lexicon_path: Path, tmp_path: Path) -> None:
    for name in ("fortunes", "literature", "riddles"):
        (tmp_path / name).write_text(
            "The boy measures\nthe garage.\n%\nThe wise boy is good.\n%\nGood luck!\n", "utf-8"
        )
    assert fortunes(read_lexicon(lexicon_path), tmp_path) == ["The boy measures the garage."]


def test_sentences_are_the_same_for_a_seed_and_all_different(lexicon_path: Path, tmp_path: Path) -> None:
    for name in ("fortunes", "literature", "riddles"):
        (tmp_path / name).write_text("", "utf-8")
    lexicon = read_lexicon(lexicon_path)
    made = sentences(lexicon, 12, 1, tmp_path)
    assert made == sentences(lexicon, 12, 1, tmp_path) != sentences(lexicon, 12, 2, tmp_path)
    assert len(set(made)) == 12
    assert all(word in lexicon for text in made for word in words_of(text))


def test_phones_become_those_of_the_dictionary() -> None:
    spoken = [("pau", 0.0, 0.1), ("brth", 0.1, 0.2), ("ax", 0.2, 0.3), ("dx", 0.3, 0.35), ("zz", 0.35, 0.4)]
    assert to_arpabet(spoken, RADIO) == (("SIL", 0.0, 0.2), ("AH", 0.2, 0.3), ("T", 0.3, 0.35), (UNKNOWN, 0.35, 0.4))


def test_a_sound_that_is_two_of_ours_shares_its_time() -> None:
    assert to_arpabet([("i@3", 1.0, 1.2)], ESPEAK) == (("IY", 1.0, 1.1), ("R", 1.1, 1.2))


def test_all_tables_lead_to_known_phones() -> None:
    names = {part for parts in ESPEAK.values() for part in parts} | set(RADIO.values())
    names |= {
        part for tongue in (foreign.CATALAN, foreign.RUSSIAN) for parts in tongue.phones.values() for part in parts
    }
    assert names <= INDEX_OF_PHONE.keys() | {UNKNOWN}
    for sounds in (borrowed.ITALIAN, borrowed.CZECH, borrowed.FINNISH, borrowed.INDIAN, borrowed.BRITISH):
        assert sounds.keys() == set(PHONES)


def test_borrowed_voices_are_asked_for_the_given_times() -> None:
    segments = [("SIL", 0.0, 0.2), ("HH", 0.2, 0.26), ("AY", 0.26, 0.5), ("TH", 0.5, 0.6)]
    asked = borrowed.ask(segments, borrowed.ITALIAN, 120.0, "seed")
    assert [label for label, _ in asked] == ["SIL", "HH", "AY", UNKNOWN]
    assert [[name for name, _, _ in parts] for _, parts in asked] == [["#"], [], ["a", "i"], ["f"]]
    seconds = [sum(seconds for _, seconds, _ in parts) for _, parts in asked]
    assert seconds[2] / seconds[0] == pytest.approx(0.24 / 0.2)
    assert 0.2 / 1.3 <= seconds[0] <= 0.2 / 0.85
    pitches = [pitch for _, parts in asked for _, _, pitch in parts]
    assert (pitches[0], pitches[3]) == (0.0, 0.0)
    assert 60 < pitches[1] < 220


def test_labels_are_stretched_to_the_length_of_the_wave() -> None:
    stretched = borrowed.stretched([("SIL", 0.0, 0.5), ("AY", 0.5, 2.0)], 2.2)
    assert [phone for phone, _, _ in stretched] == ["SIL", "AY"]
    assert [end for _, _, end in stretched] == pytest.approx([0.55, 2.2])
    assert stretched[1][1] == stretched[0][2]


@pytest.mark.parametrize("tongue", [foreign.CATALAN, foreign.RUSSIAN])
def test_foreign_sentences_are_the_same_each_time_and_all_different(tongue: foreign.Tongue) -> None:
    made = foreign.sentences(tongue, 200)
    assert made == foreign.sentences(tongue, 200)
    assert list(made)[::199] == [f"{tongue.prefix}0001", f"{tongue.prefix}0200"]
    assert len(set(made.values())) == 200
    assert all(text[0].isupper() and text[-1] in ".?" and 3 <= len(text.split()) <= 18 for text in made.values())


def test_catalan_is_written_without_accents() -> None:
    assert all(text.isascii() for text in foreign.sentences(foreign.CATALAN, 300).values())


def test_a_sound_of_russian_is_ours_only_if_one_is_near() -> None:
    spoken = [("sh", 0.0, 0.1), ("c", 0.1, 0.3), ("tt", 0.3, 0.4), ("gg", 0.4, 0.5)]
    labels = [phone for phone, _, _ in to_arpabet(spoken, foreign.RUSSIAN.phones)]
    assert labels == ["SH", "T", "S", UNKNOWN, "G"]


def test_added_voices_leave_the_sentences_of_the_others_alone(tmp_path: Path) -> None:
    texts = {f"s{number:05d}": "x" for number in range(9000)}
    (tmp_path / "manifest.d").mkdir()
    lines = (f'{{"text_id": "{text_id}", "phones": [["SIL", 0.0, 1.0]]}}\n' for text_id in list(texts)[:1000])
    (tmp_path / "manifest.d" / "kal.jsonl").write_text("".join(lines), "utf-8")
    jobs = {job.name: job for job in all_jobs("train", texts, tmp_path)}
    assert list(jobs)[-6:] == ["bdl", "alan", "don", "nsk", "ona", "nsh"]
    assert min(jobs["bdl"].texts) == f"s{3100 + 700 + 8 * 300 + 84 * 22:05d}"
    assert all(len(jobs[name].texts) == 300 for name in ("don", "nsk", "ona", "nsh"))


def test_flite_tells_ends() -> None:
    assert _segments("pau:0.2 hh:0.3 \n") == (("pau", 0.0, 0.2), ("hh", 0.2, 0.3))


def test_silence_before_the_first_phone_is_silence() -> None:
    samples = np.concatenate([np.zeros(800, np.float32), np.full(1600, 0.3, np.float32)])
    segments = (("T", 0.0, 0.1), ("IY", 0.1, 0.15))
    assert lead_in(segments, samples, 16000) == (("SIL", 0.0, 0.05), ("T", 0.05, 0.1), ("IY", 0.1, 0.15))
    assert lead_in(segments, samples[800:], 16000) == segments


def test_nobody_trains_on_what_is_held_out(tmp_path: Path) -> None:
    texts = {f"{kind}{number:04d}": "x" for kind in "hs" for number in range(50)}
    (tmp_path / "manifest.d").mkdir()
    (tmp_path / "manifest.d" / "kal.jsonl").write_text('{"text_id": "s0000", "phones": [["SIL", 0.0, 1.0]]}\n', "utf-8")
    trained = [job for part in ("target", "train") for job in all_jobs(part, texts, tmp_path)]
    held_out = list(all_jobs("heldout", texts, tmp_path))
    trained = [job for job in trained if job.split != "target_heldout"]
    assert not {job.voice.person for job in trained} & {job.voice.person for job in held_out}
    assert not {text for job in trained for text in job.texts} & {text for job in held_out for text in job.texts}
    assert all(job.voice.licence for job in (*trained, *held_out))


def test_voices_are_judged_on_sentences_of_their_own() -> None:
    texts = judge_texts()
    assert len(set(texts.values())) == len(texts) == 32
    assert [job.voice.person for job in all_jobs("judge", {}, Path())] == [
        "slt",
        "ked",
        "pico en-US",
        "pico en-GB",
        "clb",
    ]
    assert all(job.split == "judge" and job.texts == texts for job in all_jobs("judge", {}, Path()))


@pytest.mark.skipif(not FORTUNES_DIR.is_dir(), reason="needs Debian's fortunes-min, of which the corpus is made")
def test_no_saying_of_the_corpus_is_judged() -> None:
    everything = {word: ("AH",) for text in judge_texts().values() for word in words_of(text)}
    assert not {text.rstrip(".!?") for text in judge_texts().values()} & {
        text.rstrip(".!?") for text in fortunes(everything)
    }
