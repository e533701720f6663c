"""Live windows of small voices, whose networks are not shared out among threads. Small networks of random weights."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_voice
from engine.live_windows import WindowedStream
from torch import nn

from anivoice.audio.live_geometry import LiveGeometry
from anivoice.engine.batch import Job, LiveRequest, Request, SegmentRequest, WarmRequest
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.stages.options import ConversionOptions
from anivoice.voices.voice import Voice

CPU = torch.device("cpu")
GEOMETRY = LiveGeometry(block_frames=8, context_frames=60, crossfade_frames=4, lookahead_frames=2)
SPEECH = (0.1 * np.random.default_rng(5).standard_normal(16000)).astype(np.float32)


@pytest.fixture(scope="module")
def voice(h768_hf_dir: Path) -> Voice:
    return load_voice(OWN_VECTORS, {"model": "v2_f0_48k.pth", "hubert": "h768", "index": ""}, h768_hf_dir)


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[Callable[[int], Engine]]:
    engines: list[Engine] = []

    def make(num_threads: int) -> Engine:
        engines.append(Engine(TorchRunner(CPU, torch.float32, tmp_path, num_threads)))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
def num_threads(voice: Voice) -> Iterator[dict[str, set[int]]]:
    """How many threads torch had, by network."""
    seen: defaultdict[str, set[int]] = defaultdict(set)
    networks: dict[str, nn.Module] = {
        "content": next(module for module in voice.encoder.model.modules() if isinstance(module, nn.Linear)),
        "prior": voice.model.enc_p.emb_phone,
        "decoder": voice.model.dec.conv_pre,
    }
    hooks = [
        network.register_forward_hook(lambda *_, name=name: seen[name].add(torch.get_num_threads()))
        for name, network in networks.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def live_request(voice: Voice) -> LiveRequest:
    return WindowedStream(voice, SPEECH, GEOMETRY, algo="fcpe").request()


def computed(engine: Engine, request: Request) -> object:
    return engine.submit(request, Job(), 0.0 if isinstance(request, LiveRequest) else None).result(30)


def test_a_live_window_is_computed_on_one_thread_and_a_file_on_all(
    make_engine: Callable[[int], Engine], voice: Voice, num_threads: dict[str, set[int]]
) -> None:
    engine = make_engine(2)
    computed(engine, live_request(voice))
    assert num_threads == {"content": {1}, "prior": {1}, "decoder": {1}}
    num_threads.clear()
    computed(engine, SegmentRequest(voice, SPEECH, np.full(101, 200.0), 20, 60, ConversionOptions()))
    assert num_threads == {"content": {2}, "prior": {2}, "decoder": {2}}


def test_a_live_window_of_large_networks_is_computed_on_all_threads(
    make_engine: Callable[[int], Engine], voice: Voice, num_threads: dict[str, set[int]]
) -> None:
    engine = make_engine(2)
    computed(engine, WarmRequest(voice, None))
    assert voice.placed is not None
    voice.placed.encoder.is_small = voice.placed.synthesizer.is_small = False
    try:
        computed(engine, live_request(voice))
    finally:
        voice.placed = voice.encoder.placed = None
    assert num_threads == {"content": {2}, "prior": {2}, "decoder": {2}}
