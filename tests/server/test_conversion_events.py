"""Conversions with progress as events, results at an address of their own, previews, defaults of voices."""

import asyncio
import io
import json
import shutil

import pytest
import soundfile

from anivoice.server import conversion_events
from anivoice.server.conversion_events import JOBS

ACCEPT = {"Accept": "text/event-stream"}


async def events_of(answer):
    """`(name, data)` of each event, as they come."""
    name = ""
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))


async def all_events(client, data):
    async with client.post("/convert", data=data, headers=ACCEPT) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream"), await answer.text()
        return [event async for event in events_of(answer)]


async def test_progress_and_the_audio_once(serve_fake, form, speech):
    client = await serve_fake()
    events = await all_events(client, form(speech, "me.wav", model_name="alice", seed=1))
    names = [name for name, _ in events]
    assert names[0] == "received"
    assert names[-1] == "done"
    assert set(names[1:-1]) <= {"progress"}
    received, done = events[0][1], events[-1][1]
    assert received["received_bytes"] == len(speech)
    assert done["file_name"] == "me_alice.wav"
    async with client.get(done["url"]) as answer:
        body = await answer.read()
        assert answer.status == 200
        assert len(body) == done["num_bytes"]
        assert answer.headers["X-Anivoice-Seed"] == done["headers"]["X-Anivoice-Seed"] == "1"
    assert soundfile.info(io.BytesIO(body)).samplerate == 40000
    async with client.get(done["url"]) as answer:
        assert answer.status == 404


async def test_progress_tells_seconds_of_the_whole(serve_fake, fake, form, make_audio, until):
    fake.runner.is_held = lambda _: not release.is_set()
    release = asyncio.Event()
    client = await serve_fake()
    async with client.post("/convert", data=form(make_audio(2.0)), headers=ACCEPT) as answer:
        seen = []
        async for name, data in events_of(answer):
            seen.append((name, data))
            if name == "progress" and data["total_s"]:
                release.set()
    told = next(data for name, data in seen if name == "progress" and data["total_s"])
    assert told == {"state": "converting", "done_s": 0.0, "total_s": 2.0}
    assert seen[-1][0] == "done"


async def test_what_is_wrong_before_is_an_ordinary_error_and_later_an_event(serve_fake, form, speech):
    client = await serve_fake()
    async with client.post("/convert", data=form(speech, model_name="nobody"), headers=ACCEPT) as answer:
        assert (answer.status, answer.content_type) == (404, "application/json")
    events = await all_events(client, form(b"no audio at all", model_name="alice"))
    assert events[-1][0] == "failed"
    assert events[-1][1]["status"] == 415
    assert "not audio" in events[-1][1]["error"]


@pytest.mark.parametrize("how", ["delete", "hang up"])
async def test_a_conversion_is_cancelled(serve_fake, fake, form, speech, until, how, num_open_files):
    fake.runner.is_held = lambda _: not any(job.is_cancelled for job in fake.engine.jobs)
    client = await serve_fake()
    answer = await client.post("/convert", data=form(speech), headers=ACCEPT)
    events = events_of(answer)
    _, received = await anext(events)
    await until(lambda: fake.runner.num_held)
    if how == "delete":
        async with client.delete(received["url"]) as deleted:
            assert deleted.status == 204
        rest = [event async for event in events]
        assert rest[-1] == ("failed", {"error": "the conversion was cancelled", "status": 499})
    answer.close()
    await until(lambda: any(job.is_cancelled for job in fake.engine.jobs) and num_open_files() == 0)
    async with client.get(received["url"]) as fetched:
        assert fetched.status == 404


async def test_results_that_nobody_fetches_go(serve_fake, form, speech, monkeypatch, until, num_open_files):
    monkeypatch.setattr(conversion_events, "MAX_WAITING_RESULTS", 2)
    client = await serve_fake()
    urls = [(await all_events(client, form(speech)))[-1][1]["url"] for _ in range(3)]
    async with client.get(urls[0]) as answer:
        assert answer.status == 404
    async with client.delete(urls[1]) as answer:
        assert answer.status == 204
    await until(lambda: num_open_files() == 1)
    monkeypatch.setattr(conversion_events, "RESULT_TTL_SECONDS", 0.01)
    await all_events(client, form(speech))
    await client.app[JOBS].close()
    await until(lambda: num_open_files() == 0)


async def test_a_preview_of_a_voice(serve_real):
    client = await serve_real()
    async with client.get("/models/alice/preview?pitch_change=3&output_format=flac") as answer:
        body = await answer.read()
        assert answer.status == 200, body
        assert answer.headers["X-Anivoice-Voice"] == "alice"
    assert soundfile.info(io.BytesIO(body)).duration == pytest.approx(4.7, abs=0.1)
    async with client.get("/models/nobody/preview") as answer:
        assert answer.status == 404
    async with client.get("/models/alice/preview?pitch_change=99") as answer:
        assert answer.status == 422


async def test_a_voices_defaults_hold_where_a_request_says_nothing(
    serve_fake, fake, weights_dir, tmp_path, form, speech
):
    shutil.copy(weights_dir / "alice.pth", tmp_path / "alice.pth")
    (tmp_path / "alice.json").write_text('{"defaults": {"seed": 7, "output": 1}}'.replace(', "output": 1', ""))
    fake.runtime.library.weights_dir = tmp_path
    client = await serve_fake(defaults={"seed": 3})
    for fields, seed in (({}, "7"), ({"seed": 9}, "9")):
        async with client.post("/convert", data=form(speech, **fields)) as answer:
            assert answer.status == 200
            assert answer.headers["X-Anivoice-Seed"] == seed
