"""What the encoder is trained on, made once: log-mel of several changed copies of each clip, as memory-mapped shards.

A shard is a folder: `mel.npy` `[M, 80]` float16 (frames of 10 ms, all copies after each other), `phone.npy` `[M]`
int8 and `copies.json`. Shards are written one by one, so that training can begin with the first.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.models.encoder_mel import HOP_SAMPLES, WINDOW_SAMPLES, MelFrontEnd
from anivoice.training.manifest import Clip
from anivoice.training.wave_augment import (
    RATE_HZ,
    Samples,
    Speaker,
    praat_speaker,
    record,
    set_level,
    tape_speed,
    vocoder_speaker,
)

CLIPS_PER_SHARD = 128
PLAIN_LEVEL_DB = -24.0
TAIL_SAMPLES = 2400
"""Silence after each clip, so that its last phone has what comes after it."""

Speakers = Callable[[Samples, np.random.Generator], Speaker]
COPIES: tuple[tuple[Speakers | None, bool], ...] = (
    (None, False),
    (tape_speed, True),
    (praat_speaker, True),
    (vocoder_speaker, True),
)
"""Of each clip: the plain one, and changed speakers in changed rooms."""
VOCODER_SHARE = 0.1
"""Of the clips have the vocoder's copy, which takes longest to make."""


@dataclass(frozen=True)
class Copy:
    """Where a copy lies in its shard: frames `first` to `first + num_frames`; `speed` times as fast as the clip."""

    clip: str
    person: str
    engine: str
    split: str
    kind: int
    first: int
    num_frames: int
    speed: float


@dataclass(frozen=True)
class Shard:
    """One folder of the cache, mapped into memory."""

    mel: NDArray[np.float16]
    phone: NDArray[np.int8]
    copies: tuple[Copy, ...]


def read_audio(path: Path) -> Samples:
    """Any file as float64 mono at 16 kHz."""
    import soundfile
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    mono: Samples = np.ascontiguousarray(samples.mean(axis=1))
    return mono if rate_hz == RATE_HZ else soxr.resample(mono, rate_hz, RATE_HZ)


def log_mel(samples: Samples, front_end: MelFrontEnd) -> NDArray[np.float16]:
    """`[M, 80]`; at least one frame's worth of samples."""
    with torch.inference_mode():
        mel: Tensor = front_end(torch.from_numpy(samples).float().unsqueeze(0))[0]
    frames: NDArray[np.float16] = mel.numpy().astype(np.float16)
    return frames


def frame_times(num_frames: int) -> NDArray[np.float64]:
    """Seconds at the middle of each mel frame."""
    times: NDArray[np.float64] = (np.arange(num_frames) * HOP_SAMPLES + WINDOW_SAMPLES / 2) / RATE_HZ
    return times


def make_cache(clips: Sequence[Clip], folder: Path, seed: int, num_processes: int = 1) -> Iterator[Path]:
    """Yields the shards that are there, then those that it makes of clips that are in none, in random order."""
    present = sorted(path.parent for path in folder.glob("shard_*/copies.json"))
    yield from present
    known = {copy.clip for path in present for copy in load_shard(path).copies}
    missing = [clip for clip in clips if clip.name not in known]
    order = np.random.default_rng(seed).permutation(len(missing))
    firsts = range(0, len(missing), CLIPS_PER_SHARD)
    names = [f"shard_{len(present) + number:04d}" for number in range(len(firsts))]
    parts = [[missing[i] for i in order[first : first + CLIPS_PER_SHARD]] for first in firsts]
    for number, shard in enumerate(_make_shards(parts, [folder / name for name in names], seed, num_processes), 1):
        sys.stdout.write(f"{shard.name}: {min(number * CLIPS_PER_SHARD, len(missing))} of {len(missing)} clips\n")
        sys.stdout.flush()
        yield shard


def _make_shards(
    parts: Sequence[Sequence[Clip]], shards: Sequence[Path], seed: int, num_processes: int
) -> Iterator[Path]:
    """Yields each shard when it is made."""
    if num_processes == 1:
        for part, shard in zip(parts, shards, strict=True):
            _make_shard(part, shard, seed)
            yield shard
        return
    with ProcessPoolExecutor(num_processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        made = [pool.submit(_make_shard, part, shard, seed) for part, shard in zip(parts, shards, strict=True)]
        for future, shard in zip(made, shards, strict=True):
            future.result()
            yield shard


def _make_shard(clips: Sequence[Clip], shard: Path, seed: int) -> None:
    shard.mkdir(parents=True, exist_ok=True)
    front_end = MelFrontEnd()
    mels: list[NDArray[np.float16]] = []
    phones: list[NDArray[np.int8]] = []
    copies: list[Copy] = []
    babble: Samples | None = None
    first = 0
    for clip in clips:
        samples = set_level(read_audio(clip.path), PLAIN_LEVEL_DB)
        for kind, speaker in _copies(clip, samples, babble, seed):
            mels.append(log_mel(speaker.samples, front_end))
            seconds = frame_times(len(mels[-1])) * speaker.speed
            phones.append(clip.phones_at(seconds).astype(np.int8))
            copies.append(
                Copy(clip.name, clip.person, clip.engine, clip.split, kind, first, len(mels[-1]), speaker.speed)
            )
            first += len(mels[-1])
        babble = samples if babble is None else 0.7 * np.resize(babble, len(samples)) + samples
    for name, arrays in (("mel", mels), ("phone", phones)):
        _save(shard / f"{name}.npy", np.concatenate(arrays))
    _write_json(shard / "copies.json", [asdict(copy) for copy in copies])


def _copies(clip: Clip, samples: Samples, babble: Samples | None, seed: int) -> Iterator[tuple[int, Speaker]]:
    for kind, (speakers, is_recorded) in enumerate(COPIES):
        generator = np.random.default_rng([seed, kind, *clip.name.encode()])
        if speakers is vocoder_speaker and generator.random() > VOCODER_SHARE:
            continue
        speaker = Speaker(samples, 1.0) if speakers is None else speakers(samples, generator)
        heard = record(speaker.samples, generator, babble) if is_recorded else speaker.samples
        yield kind, Speaker(np.pad(heard, (0, TAIL_SAMPLES)), speaker.speed)


def load_shard(folder: Path) -> Shard:
    """Mapped, not read."""
    copies = json.loads((folder / "copies.json").read_text("utf-8"))
    mel, phone = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("mel", "phone"))
    return Shard(mel, phone, tuple(Copy(**copy) for copy in copies))


def _save(path: Path, array: NDArray[np.generic]) -> None:
    unfinished = path.with_suffix(".unfinished.npy")
    np.save(unfinished, array)
    unfinished.replace(path)


def _write_json(path: Path, content: Mapping[str, object] | Iterable[object]) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content), "utf-8")
    unfinished.replace(path)
