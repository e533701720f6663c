"""Uploads: bounded while they arrive, stored without a name, gone with the request."""

import asyncio
import base64
import contextlib

import pytest
from aiohttp import ClientError, FormData

MEBIBYTE = 2**20
PART = b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n'
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}


async def test_announced_size_is_refused_before_the_body(serve_fake, num_open_files):
    client = await serve_fake(max_upload_mb=1)

    async def body():
        yield PART
        await asyncio.Event().wait()

    headers = HEADERS | {"Content-Length": str(3 * MEBIBYTE)}
    async with client.post("/convert", data=body(), headers=headers) as answer:
        assert answer.status == 413
        assert "1 MiB" in (await answer.json())["error"]
    assert num_open_files() == 0


async def test_endless_upload_is_cut_at_the_limit(serve_fake, fake, num_open_files, until):
    client = await serve_fake(max_upload_mb=1)
    sent = 0

    async def body():
        nonlocal sent
        yield PART
        while True:
            sent += 2**16
            yield bytes(2**16)

    with contextlib.suppress(ClientError):
        async with client.post("/convert", data=body(), headers=HEADERS) as answer:
            assert answer.status == 413
            assert "1 MiB" in (await answer.json())["error"]
    assert sent > MEBIBYTE
    await until(lambda: num_open_files() == 0)
    assert fake.engine.jobs == []


@pytest.mark.parametrize(("num_bytes", "status"), [(MEBIBYTE, 415), (MEBIBYTE + 1, 413)])
async def test_limit_is_exact(serve_fake, form, num_bytes, status):
    client = await serve_fake(max_upload_mb=1)
    async with client.post("/convert", data=form(bytes(num_bytes))) as answer:
        assert answer.status == status


async def test_upload_larger_than_aiohttps_own_limit(serve_fake, form, make_audio):
    client = await serve_fake()
    audio = make_audio(30, 48000)
    assert len(audio) > 2 * MEBIBYTE
    async with client.post("/convert", data=form(audio)) as answer:
        assert answer.status == 200
        assert float(answer.headers["X-Anivoice-Audio-Seconds"]) == 30


async def test_fields_may_follow_the_audio(serve_fake, speech):
    client = await serve_fake()
    data = FormData(default_to_multipart=True)
    data.add_field("model_name", "whisper")
    data.add_field("audio_file", speech, filename="a.wav")
    data.add_field("output_format", "flac")
    async with client.post("/convert", data=data) as answer:
        assert answer.status == 200
        assert answer.content_type == "audio/flac"
        assert answer.headers["X-Anivoice-Voice"] == "whisper"


async def test_blank_fields_mean_not_given(serve_fake, form, speech):
    client = await serve_fake()
    async with client.post("/convert", data=form(speech, seed="", output_format="", model_name=" ")) as answer:
        assert answer.status == 200
        assert answer.content_type == "audio/wav"


async def test_audio_without_a_file_name(serve_fake, speech):
    client = await serve_fake()
    async with client.post(
        "/convert", data=PART.replace(b'; filename="a.wav"', b"") + speech + b"\r\n--x--\r\n", headers=HEADERS
    ) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == 'attachment; filename="audio_alice.wav"'


async def test_base64_parts_are_decoded(serve_fake, speech):
    client = await serve_fake()
    part = PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
    body = part + base64.encodebytes(speech) + b"\r\n--x--\r\n"
    async with client.post("/convert", data=body, headers=HEADERS) as answer:
        assert answer.status == 200


async def test_upload_that_stands_still_is_given_up(serve_fake, num_open_files, until):
    client = await serve_fake(max_stall_seconds=0.05)

    async def body():
        yield PART + b"RIFF"
        await asyncio.Event().wait()

    async with client.post("/convert", data=body(), headers=HEADERS) as answer:
        assert answer.status == 408
        assert "stood still" in (await answer.json())["error"]
    await until(lambda: num_open_files() == 0)


async def test_client_that_leaves_while_sending_leaves_nothing(serve_fake, num_open_files, until):
    client = await serve_fake()
    begun = asyncio.Event()

    async def body():
        yield PART + bytes(2**18)
        begun.set()
        await asyncio.Event().wait()

    sending = asyncio.create_task(client.post("/convert", data=body(), headers=HEADERS).__aenter__())
    await begun.wait()
    await until(lambda: num_open_files() == 1)
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    await until(lambda: num_open_files() == 0)
