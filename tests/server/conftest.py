"""A server with a fake engine (silence, held up at will) or with small real networks."""

import asyncio
import io
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch
from aiohttp import ClientWebSocketResponse, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from conformance import OWN_VECTORS
from live_sockets import RATE_HZ

from anivoice.config import Settings, load_settings
from anivoice.engine.admission import Admission
from anivoice.engine.batch import (
    Job,
    PitchRequest,
    Request,
    WarmRequest,
    WarmWindowRequest,
    WindowRequest,
    WindowResult,
    Work,
)
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.engine.runtime import Runtime
from anivoice.errors import Unavailable
from anivoice.parameters import ConversionParameters
from anivoice.server.app import build_app, make_runner
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.voices.cache import VoiceCache
from anivoice.voices.library import VoiceLibrary

Client = TestClient[web.Request, web.Application]


@pytest.fixture(scope="session")
def weights_dir(h768_hf_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alice (v1, index), bob (v1), mismatch (v1, index of v2), vera (v2, index), whisper (v1 without f0), broken."""
    target = tmp_path_factory.mktemp("weights")
    synth, retrieval = OWN_VECTORS / "synth", OWN_VECTORS / "retrieval"
    for name, file in {
        "alice": "v1_f0_40k",
        "bob": "v1_f0_40k",
        "mismatch": "v1_f0_40k",
        "vera": "v2_f0_40k",
        "whisper": "v1_nof0_40k",
    }.items():
        shutil.copyfile(synth / f"{file}.pth", target / f"{name}.pth")
    (target / "broken.pth").write_bytes((synth / "v1_f0_40k.pth").read_bytes()[:5000])
    shutil.copyfile(retrieval / "added_v1_256.index", target / "alice.index")
    shutil.copyfile(retrieval / "added_v2_768.index", target / "mismatch.index")
    shutil.copyfile(retrieval / "added_v2_768.index", target / "vera.index")
    shutil.copytree(OWN_VECTORS / "hubert" / "tiny12_hf_safetensors", target / "contentvec")
    shutil.copytree(h768_hf_dir, target / "h768")
    (target / "vera.json").write_text(json.dumps({"embedder_model": "h768"}), "utf-8")
    return target


@pytest.fixture(scope="session")
def speech() -> bytes:
    """A short recording, 16 kHz WAV."""
    return (OWN_VECTORS / "audio" / "speech_short_16k.wav").read_bytes()


@pytest.fixture(scope="session")
def long_speech() -> bytes:
    """A recording of several windows."""
    return (OWN_VECTORS / "audio" / "speech_long_16k.wav").read_bytes()


@pytest.fixture
def make_settings(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of the server under test, whatever the environment says."""

    def make(**overrides: object) -> Settings:
        return load_settings({"weights_dir": weights_dir, "device": "cpu", "threads": 1} | overrides, env_file=None)

    return make


class FakeRunner:
    """Does nothing, quickly; or holds on, request by request, until it is let go, step by step."""

    device = torch.device("cpu")

    def __init__(self, weights_dir: Path) -> None:
        self.records = False
        self.pitch = PitchExtractor(weights_dir, self.device, torch.float32)
        self.is_held: Callable[[Request], bool] = lambda request: False
        self.error: Exception | None = None
        self.delay_s = 0.0
        self.num_held = 0
        self.served: list[Request] = []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def nudge(self) -> None: ...

    def free_memory(self) -> bool:
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def steps(self, request: Request) -> Generator[None, None, object]:
        yield
        if not isinstance(request, WarmRequest | WarmWindowRequest):
            time.sleep(self.delay_s)
            if self.error is not None:
                raise self.error
            self.num_held += 1
            while self.is_held(request):
                time.sleep(0.001)
                yield
            self.num_held -= 1
        self.served.append(request)
        match request:
            case PitchRequest():
                return np.zeros(len(request.samples) // 160 + 1, np.float32)
            case WindowRequest() if not request.layout.overlaps:
                num_samples = request.layout.decode_frames * request.voice.config.sample_rate_hz // 100
                return WindowResult(np.zeros(num_samples, np.float32), request.f0_known_hz, 0.0)
            case WindowRequest():
                return half_as_loud(request)
            case _:
                return None


def half_as_loud(request: WindowRequest) -> WindowResult:
    """The input at half its height: what is converted can be told from silence and from the speaker's own voice."""
    samples_per_frame = request.voice.config.sample_rate_hz // 100
    layout = request.layout
    frames = np.arange(layout.decode_frames * samples_per_frame) / samples_per_frame
    at = 160 * (layout.first_decoded_frame + frames)
    waveform = 0.5 * np.interp(at, np.arange(len(request.samples)), request.samples)
    return WindowResult(waveform.astype(np.float32), request.f0_known_hz, request.initial_phase)


class RecordingEngine(Engine):
    """Remembers the jobs that were submitted. Its clock gives every step the same cost."""

    def __init__(self, runner: FakeRunner) -> None:
        ticks = itertools.count()
        # By that clock a block takes seconds: everybody is let in, unless a test wants otherwise.
        super().__init__(runner, clock=lambda: float(next(ticks)), admission=Admission(max_load=1e9))
        self.jobs: list[Job] = []

    def submit_all(self, works: Sequence[Work]) -> Unavailable | None:
        for work in works:
            if not isinstance(work.request, WarmRequest | WarmWindowRequest) and work.job not in self.jobs:
                self.jobs.append(work.job)
        return super().submit_all(works)


class FakeClock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeServer:
    """The parts that a test may turn."""

    runner: FakeRunner
    engine: RecordingEngine
    runtime: Runtime
    clock: FakeClock = field(default_factory=FakeClock)


class BoundedServer(TestServer):
    """With the connections that `anivoice serve` has."""

    __test__ = False

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return make_runner(self.app, 5.0)


@pytest.fixture(scope="session")
def loaded_voices(weights_dir: Path) -> VoiceCache:
    """The fake engine does not touch the voices: they are loaded once for all tests."""
    return VoiceCache(VoiceLibrary(weights_dir), 2**30)


@pytest.fixture
def fake(weights_dir: Path, loaded_voices: VoiceCache) -> FakeServer:
    runner = FakeRunner(weights_dir)
    engine = RecordingEngine(runner)
    runtime = Runtime(engine, cast(TorchRunner, runner), VoiceLibrary(weights_dir), loaded_voices)
    return FakeServer(runner, engine, runtime)


@pytest.fixture
def serve_fake(
    fake: FakeServer, make_settings: Callable[..., Settings], aiohttp_client: Callable[..., Awaitable[Client]]
) -> Callable[..., Awaitable[Client]]:
    """A client of a server with the fake engine: `await serve_fake(max_upload_mb=1)`; the default voice is alice."""

    async def start(defaults: dict[str, object] | None = None, **settings: object) -> Client:
        parameters = ConversionParameters.parse({"model_name": "alice"} if defaults is None else defaults)
        app = build_app(make_settings(**settings), parameters, fake.runtime, fake.clock)
        return await aiohttp_client(BoundedServer(app))

    return start


@pytest.fixture
def connect() -> Callable[..., Awaitable[ClientWebSocketResponse]]:
    """`socket = await connect(client, sample_rate=8000)`: a session with these parameters, and its socket."""

    async def open_session(client: Client, **values: object) -> ClientWebSocketResponse:
        values = {"sample_rate": RATE_HZ, "preset": "low", "mode": "reliable"} | values
        async with client.post("/convert/stream", json=values) as answer:
            assert answer.status == 200, await answer.text()
            url = (await answer.json())["websocket_url"]
        return await client.ws_connect(url)

    return open_session


@pytest.fixture
def serve_real(
    make_settings: Callable[..., Settings], aiohttp_client: Callable[..., Awaitable[Client]]
) -> Callable[..., Awaitable[Client]]:
    """A client of a server with the small networks."""

    async def start(defaults: dict[str, object] | None = None, **settings: object) -> Client:
        parameters = ConversionParameters.parse(defaults or {"model_name": "alice", "pitch_extraction_algo": "pm"})
        return await aiohttp_client(BoundedServer(build_app(make_settings(**settings), parameters)))

    return start


@pytest.fixture
def form() -> Callable[..., FormData]:
    """A form with the audio last, as most clients send it: `form(speech, seed=1)`."""

    def make(audio: bytes | None, file_name: str = "speech.wav", **fields: object) -> FormData:
        data = FormData(default_to_multipart=True)
        for name, value in fields.items():
            data.add_field(name, str(value))
        if audio is not None:
            data.add_field("audio_file", io.BytesIO(audio), filename=file_name, content_type="audio/wav")
        return data

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits until something is so; fails the test when it does not happen at all."""

    async def wait(is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not is_so():  # noqa: ASYNC110 - what is waited for happens in other threads
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def num_open_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """How many of the temporary files that were made since are still open."""
    made: list[Any] = []
    lock = threading.Lock()
    make = tempfile.TemporaryFile

    def recorded(*args: Any, **kwargs: Any) -> Any:
        file = make(*args, **kwargs)
        with lock:
            made.append(file)
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", recorded)
    yield lambda: sum(not file.closed for file in made)
    assert all(file.closed for file in made)


@pytest.fixture(scope="session")
def make_audio() -> Callable[..., bytes]:
    """A tone in any format: `make_audio(0.5, 44100, 2, "FLAC", "PCM_24")`."""

    def make(seconds: float, rate_hz: int = 16000, num_channels: int = 1, fmt: str = "WAV", subtype: str = "") -> bytes:
        time_s = np.arange(round(seconds * rate_hz)) / rate_hz
        tone = 0.3 * np.sin(2 * np.pi * 220 * time_s) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time_s))
        file = io.BytesIO()
        soundfile.write(file, np.tile(tone[:, None], (1, num_channels)), rate_hz, subtype or None, format=fmt)
        return file.getvalue()

    return make
