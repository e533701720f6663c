"""Whatever route gives audio says that a computer made it."""

import io

import pytest
import soundfile
from live_sockets import receive_until

from anivoice.audio.files import SYNTHETIC_NOTE


@pytest.mark.parametrize("output_format", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("is_marked", [True, False])
async def test_files_carry_the_note(serve_real, form, speech, output_format, is_marked):
    client = await serve_real(mark_synthetic=is_marked)
    fields = {"model_name": "alice", "output_format": output_format, "pitch_extraction_algo": "pm"}
    async with client.post("/convert", data=form(speech, **fields)) as answer:
        body = await answer.read()
    with soundfile.SoundFile(io.BytesIO(body)) as sound:
        assert sound.comment == (SYNTHETIC_NOTE if is_marked else "")
    assert answer.headers.get("X-Anivoice-Synthetic") == ("true" if is_marked else None)


async def test_a_stream_says_it_when_it_opens_and_in_its_first_event(serve_real):
    client = await serve_real()
    async with client.post("/convert/stream", json={"events": True, "mode": "reliable"}) as answer:
        url = (await answer.json())["websocket_url"]
    async with client.ws_connect(url[url.index("/ws/") :]) as socket:
        assert socket._response.headers["X-Anivoice-Synthetic"] == "true"
        await socket.send_json({})
        _, texts = await receive_until(socket, "ready")
        assert texts[-1]["synthetic"] is True


async def test_every_route_with_audio_is_described_with_its_mark(serve_real):
    client = await serve_real()
    async with client.get("/openapi.json") as answer:
        document = await answer.json()
    answers = {
        f"{method} {path}": operation["responses"].get("200", {})
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    with_audio = {
        route: answer
        for route, answer in answers.items()
        if any(kind.startswith("audio/") for kind in answer.get("content", {}))
    }
    assert "post /convert" in with_audio
    assert [route for route, answer in with_audio.items() if "X-Anivoice-Synthetic" not in answer["headers"]] == []
