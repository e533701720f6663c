"""The microphone client with a fake sound system, against the echoing stand-in of a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest
from client.conftest import EchoServer
from client.microphone.fakes import FakeSystem
from client.microphone.waiting import until

from anivoice.client.microphone import microphone as microphone_module
from anivoice.client.microphone.controls import HELD_S, Controls
from anivoice.client.microphone.microphone import Choice, Microphone
from anivoice.client.microphone.status import status_line, status_of
from anivoice.errors import InvalidParameter, NotFound

CHUNK = 480
HELD_SAMPLES = 200
"""The stand-in holds 400 bytes back."""
CABLE = Choice(output="Cable")


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_S", "LOOK_S"):
        monkeypatch.setattr(microphone_module, name, 0.01)


@pytest.fixture
def system() -> FakeSystem:
    return FakeSystem()


@asynccontextmanager
async def running(system: FakeSystem, url: str, choice: Choice = CABLE) -> AsyncIterator[Microphone]:
    microphone = Microphone(system, url, None, {"model_name": "alice"}, choice)
    task = asyncio.create_task(microphone.run())
    try:
        await until(lambda: task.done() or (microphone.stream is not None and microphone.ports is not None))
        if task.done():
            task.result()
        yield microphone
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def voice(num_samples: int, rate_hz: int = 48000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 200 * np.arange(num_samples) / rate_hz)).astype(np.float32)


async def speak(
    microphone: Microphone, system: FakeSystem, key: str, seconds: float, num_heard: int = CHUNK
) -> np.ndarray:
    """Speaks, and takes what is played meanwhile, as devices of equal clocks would; the server is as fast as ever."""
    rate_hz = system.rates_hz[0]
    sound, heard, chunk = voice(round(seconds * rate_hz), rate_hz), [], rate_hz // 100
    for start in range(0, len(sound), chunk):
        system.takes[-1](sound[start : start + chunk])
        await asyncio.sleep(0)
        await until(lambda: microphone.num_in_flight <= HELD_SAMPLES)
        heard.append(system.gives[key](num_heard))
    return np.concatenate(heard)


async def test_what_is_spoken_is_heard_with_the_delay_that_is_told(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        heard = await speak(microphone, system, "cable", 1.5)
        assert np.abs(heard[-CHUNK:]).max() == pytest.approx(0.5, abs=0.01)
        assert echo.created[0] == {
            "events": True,
            "model_name": "alice",
            "sample_rate": 48000,
            "format": "pcm_s16le",
        }
        begun = int(np.argmax(np.abs(heard) > 0.1)) / 48
        assert microphone.delay_ms == pytest.approx(begun + 20, abs=15)
        status = status_of(microphone)
        assert status["state"] == "on"
        assert status["input_db"] == pytest.approx(-6, abs=0.2)
        assert "dropped 0" in status_line(status)


@pytest.mark.parametrize(("input_rate_hz", "output_rate_hz"), [(44100, 16000), (16000, 44100), (96000, 8000)])
async def test_any_rate(echo: EchoServer, input_rate_hz: int, output_rate_hz: int) -> None:
    system = FakeSystem(input_rate_hz, output_rate_hz)
    async with running(system, echo.url) as microphone:
        heard = await speak(microphone, system, "cable", 1.5, output_rate_hz // 100)
    last = heard[-output_rate_hz // 2 :]
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last))))
    assert np.argmax(spectrum) * output_rate_hz / len(last) == pytest.approx(200, abs=3)
    assert np.abs(last).max() == pytest.approx(0.5, abs=0.02)


async def test_an_output_that_is_unplugged_is_taken_again(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        await speak(microphone, system, "cable", 0.3)
        input_port = system.ports["mic"]
        system.unplug("cable")
        await until(lambda: "no device is called 'Cable'" in microphone.trouble.get("devices", ""))
        assert input_port.is_closed
        assert system.num_refreshes > 0
        assert status_of(microphone)["state"] == "waiting"
        system.present.add("cable")
        await until(lambda: microphone.num_openings == 2 and microphone.ports is not None)
        heard = await speak(microphone, system, "cable", 0.5)
        assert np.abs(heard[-CHUNK:]).max() > 0.4
        assert microphone.num_sessions == 1
        assert not microphone.trouble


async def test_a_device_that_the_sound_server_moved_elsewhere_is_not_kept(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        system.present.discard("cable")
        await until(lambda: microphone.ports is None)


async def test_a_session_that_is_over_is_begun_anew(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        await microphone.change(pitch_change=3)
        echo.is_gone = True
        await echo.cut()
        await until(lambda: "server" in microphone.trouble)
        echo.is_gone = False
        echo.texts.clear()
        await until(lambda: microphone.num_sessions == 2 and microphone.stream is not None)
        assert echo.created[-1]["pitch_change"] == 3
        heard = await speak(microphone, system, "cable", 0.5)
        assert np.abs(heard[-CHUNK:]).max() > 0.4


async def test_after_a_lost_connection_the_delay_is_no_longer_exact(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        await speak(microphone, system, "cable", 0.2)
        await echo.cut()
        await until(lambda: not microphone.is_delay_exact)
        await speak(microphone, system, "cable", 0.3)
        assert "delay about" in status_line(status_of(microphone))
        assert microphone.num_sessions == 1


async def test_what_waiting_does_not_mend_is_told(echo: EchoServer, system: FakeSystem) -> None:
    echo.refuse_session = (404, "there is no voice 'alice'", {})
    with pytest.raises(NotFound, match="alice"):
        async with running(system, echo.url):
            pass
    with pytest.raises(
        InvalidParameter, match="--output: no device is called 'Nothing'; there are: 'Speaker', 'Cable'"
    ):
        async with running(system, echo.url, Choice(output="Nothing")):
            pass


async def test_a_refused_parameter_is_told_and_the_stream_goes_on(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        await microphone.change(pitch_change=99)
        await until(lambda: "at most 36" in microphone.trouble.get("parameter", ""))
        heard = await speak(microphone, system, "cable", 0.3)
        assert np.abs(heard[-CHUNK:]).max() > 0.4


async def test_silence_leaves_this_machine_while_nobody_talks(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        microphone.is_talking = False
        heard = await speak(microphone, system, "cable", 0.5)
        assert np.abs(heard).max() == 0
        microphone.is_talking = True
        heard = await speak(microphone, system, "cable", 0.5)
        assert np.abs(heard[-CHUNK:]).max() > 0.4


async def test_the_monitor_is_heard_or_not_without_a_click(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url, Choice(output="Cable", monitor="Speaker")) as microphone:
        heard = await speak(microphone, system, "speaker", 0.5)
        assert np.abs(heard[-CHUNK:]).max() > 0.4
        microphone.monitor(is_audible=False)
        heard = await speak(microphone, system, "speaker", 0.1)
        assert np.abs(heard[CHUNK:]).max() == 0
        assert np.abs(np.diff(heard)).max() < 0.02


async def test_keys(echo: EchoServer, system: FakeSystem) -> None:
    ended = []
    async with running(system, echo.url) as microphone:
        controls = Controls(microphone, push_to_talk=False, end=lambda: ended.append(True))
        controls.press(" ")
        assert not microphone.is_talking
        controls.press(" ")
        assert microphone.is_talking
        for key in "o+-+hxq":
            controls.press(key)
        await until(lambda: len(echo.texts) == 5)
        assert echo.texts[1:] == [{"passthrough": True}, {"pitch_change": 1}, {"pitch_change": -1}, {"pitch_change": 1}]
        assert status_of(microphone)["state"] == "off"
        assert not microphone.is_monitoring
        assert ended == [True]


async def test_push_to_talk_holds_while_the_key_is_repeated(echo: EchoServer, system: FakeSystem) -> None:
    async with running(system, echo.url) as microphone:
        controls = Controls(microphone, push_to_talk=True, end=lambda: None)
        assert not microphone.is_talking
        controls.press(" ")
        assert microphone.is_talking
        loop, before = asyncio.get_running_loop(), controls._release
        controls.press(" ")
        assert before is not None
        assert before.cancelled()
        assert controls._release is not None
        assert controls._release.when() == pytest.approx(loop.time() + HELD_S, abs=HELD_S)
        await until(lambda: not microphone.is_talking)
