"""The voice in the box: a fresh clone speaks, from files and live, and nothing is downloaded."""

import io
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from aiohttp import ClientWebSocketResponse, FormData, web
from aiohttp.test_utils import TestClient
from live_sockets import flush, receive_until
from numpy.typing import NDArray

from anivoice.checkpoints.content_file import load_content_model
from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.models.small_encoder import SmallEncoder
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.training.phones import INDEX_OF_PHONE, SILENCE
from anivoice.voices.assets import EMBEDDED_VOICE

Client = TestClient[web.Request, web.Application]
Samples = NDArray[np.float32]

WEIGHTS = Path(__file__).parents[2] / "weights"
CONTENT_RATE_HZ, VOICE_RATE_HZ = 16000, 32000
MAX_MEGABYTES = 30


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights as in a fresh clone, whatever else is in this one's."""
    folder = tmp_path_factory.mktemp("box")
    for path in WEIGHTS.glob("anivoice-*"):
        shutil.copyfile(path, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def encoder(box: Path) -> SmallEncoder:
    voice = load_voice_file(box / f"{EMBEDDED_VOICE}.pth")
    model = load_content_model(box / f"{voice.embedder_model}.safetensors")
    assert isinstance(model, SmallEncoder)
    return model.float()


@pytest.fixture(scope="module")
def source(speech: bytes) -> Samples:
    return soundfile.read(io.BytesIO(speech), dtype="float32")[0]


def phones_kept(encoder: SmallEncoder, made: Samples, source: Samples) -> float:
    """In how many of the source's frames of speech both say the same phone, by the encoder's own ear."""
    with torch.inference_mode():
        heard, said = (
            encoder.encode_mel(encoder.front_end(torch.from_numpy(samples)[None]))[0].argmax(1)
            for samples in (made[: len(source)], source)
        )
    is_speech = said != INDEX_OF_PHONE[SILENCE]
    return float((heard == said)[is_speech].float().mean())


def cents_off(made: Samples, source: Samples) -> float:
    """Median error of f0 where both are voiced."""
    pitch = PitchExtractor(Path(), torch.device("cpu"), torch.float32)
    f0 = [pitch.estimate(torch.from_numpy(samples), "fcpe").numpy() for samples in (made[: len(source)], source)]
    both = (f0[0] > 0) & (f0[1] > 0)
    assert both.sum() > 0.8 * (f0[1] > 0).sum()
    return float(np.median(np.abs(1200 * np.log2(f0[0][both] / f0[1][both]))))


def check(encoder: SmallEncoder, made: Samples, source: Samples) -> None:
    """`made` at 16 kHz says what `source` says, at the same time and pitch, in another voice."""
    assert len(made) == len(source)
    assert phones_kept(encoder, made, source) > 0.4
    # What it would be of other words: those of another moment.
    assert phones_kept(encoder, np.roll(made, len(made) // 2), source) < 0.3
    assert cents_off(made, source) < 40
    assert 0.1 < np.std(made) / np.std(source) < 10
    assert abs(np.corrcoef(made, source)[0, 1]) < 0.5


async def test_a_recording_needs_no_parameters(
    serve_real: Callable[..., Awaitable[Client]],
    form: Callable[..., FormData],
    box: Path,
    encoder: SmallEncoder,
    speech: bytes,
    source: Samples,
) -> None:
    client = await serve_real({"seed": 1}, weights_dir=box)
    async with client.post("/convert", data=form(speech)) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Anivoice-Voice"] == EMBEDDED_VOICE
        assert answer.headers["X-Anivoice-Pitch-Method"] == "fcpe"
        made, rate_hz = soundfile.read(io.BytesIO(await answer.read()), dtype="float32")
    assert (rate_hz, len(made)) == (VOICE_RATE_HZ, 2 * len(source))
    check(encoder, soxr.resample(made, rate_hz, CONTENT_RATE_HZ)[: len(source)], source)


async def streamed(
    connect: Callable[..., Awaitable[ClientWebSocketResponse]], client: Client, source: Samples, **parameters: float
) -> Samples:
    values = {"sample_rate": CONTENT_RATE_HZ, "preset": "balanced", "format": "pcm_f32le", "events": True}
    socket = await connect(client, **values)
    await socket.send_json(parameters)
    _, texts = await receive_until(socket, "ready")
    assert (texts[-1]["voice"], texts[-1]["pitch_method"]) == (EMBEDDED_VOICE, "fcpe")
    await socket.send_bytes(source.tobytes())
    made = np.frombuffer(bytearray(await flush(socket)), np.float32)
    await socket.close()
    return made


async def test_a_stream_needs_no_parameters_but_its_rate_and_may_ask_for_the_index(
    serve_real: Callable[..., Awaitable[Client]],
    connect: Callable[..., Awaitable[ClientWebSocketResponse]],
    box: Path,
    encoder: SmallEncoder,
    source: Samples,
) -> None:
    client = await serve_real({"seed": 1}, weights_dir=box)
    plain = await streamed(connect, client, source)
    check(encoder, plain, source)
    np.testing.assert_array_equal(await streamed(connect, client, source), plain)
    blended = await streamed(connect, client, source, index_rate=0.5)
    check(encoder, blended, source)
    assert np.std(blended - plain) > 0.05 * np.std(plain)


def test_it_is_small_has_a_card_and_is_in_the_community_format(box: Path) -> None:
    assert sum(path.stat().st_size for path in box.iterdir()) < MAX_MEGABYTES * 1e6
    card = (box / f"{EMBEDDED_VOICE}.md").read_text("utf-8")
    for path in box.iterdir():
        assert path.name in card
    stored = torch.load(box / f"{EMBEDDED_VOICE}.pth", weights_only=True)
    assert (stored["sr"], stored["f0"], stored["version"], len(stored["config"])) == ("32k", 1, "v2", 18)
    assert stored["embedder_model"] in card
