"""Every error status of the design's table: the status, JSON, one sentence that says what would be right."""

import asyncio
import errno
import logging
from collections import OrderedDict

import pytest
from aiohttp import ClientError, FormData, web

from anivoice.errors import InvalidModelFile, MissingAsset, Unavailable
from anivoice.server import convert as convert_route
from anivoice.voices.library import VoiceLibrary


async def error_of(answer) -> str:
    assert answer.content_type == "application/json"
    body = await answer.json()
    assert body.keys() == {"error"}
    return body["error"]


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"pitch_change": "high"}, 422, "pitch_change"),
        ({"pitch_change": 37}, 422, "pitch_change: input should be less than or equal to 36"),
        ({"pitch_change": "nan"}, 422, "pitch_change"),
        ({"volume_envelope": -0.1}, 422, "volume_envelope"),
        ({"index_rate": 1.5}, 422, "index_rate"),
        ({"protect": 0.6}, 422, "protect"),
        ({"formant_shift": 13}, 422, "formant_shift"),
        ({"f0_method_weight": 2}, 422, "f0_method_weight"),
        ({"seed": -1}, 422, "seed"),
        ({"seed": 1.5}, 422, "seed"),
        ({"speaker_id": -1}, 422, "speaker_id"),
        ({"speaker_id": 60000}, 422, "speaker_id: voice alice has"),
        ({"unvoiced_f0": "noise"}, 422, "unvoiced_f0"),
        ({"pitch_extraction_algo": "magic"}, 422, "use one of rmvpe"),
        ({"pitch_extraction_algo": "hybrid[pm]"}, 422, "exactly two methods"),
        ({"output_format": "aac"}, 422, "output_format"),
        ({"output_sample_rate": 100}, 422, "output_sample_rate"),
        ({"output_format": "mp3", "output_sample_rate": 40000}, 422, "mp3 knows the rates"),
        ({"pitch": 3}, 422, "pitch: no such parameter; known are"),
        ({"model_name": "../alice"}, 422, "a voice's name is a plain file name"),
        ({"model_name": "broken"}, 422, "broken.pth"),
        ({"model_name": "mismatch", "index_rate": 0.5}, 422, "set index_rate to 0"),
        ({"model_name": "nobody"}, 404, "there is no voice 'nobody'; known are bob"),
        ({"pitch_extraction_algo": "rmvpe"}, 503, "anivoice fetch rmvpe"),
    ],
)
@pytest.mark.parametrize("audio_first", [False, True])
async def test_wrong_parameters(serve_fake, form, speech, fields, status, told, audio_first):
    client = await serve_fake()
    data = form(None if audio_first else speech, **fields)
    if audio_first:
        data = FormData(default_to_multipart=True)
        data.add_field("audio_file", speech, filename="a.wav")
        for name, value in fields.items():
            data.add_field(name, str(value))
    async with client.post("/convert", data=data) as answer:
        assert answer.status == status
        assert told in await error_of(answer)


async def test_parameters_before_the_audio_are_judged_before_it_is_read(serve_fake):
    client = await serve_fake()

    async def body():
        yield b'--x\r\nContent-Disposition: form-data; name="pitch_change"\r\n\r\nhigh\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\nRIFF'
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with client.post("/convert", data=body(), headers=headers) as answer:
        told = await error_of(answer)
        assert "pitch_change" in told
        assert answer.status == 422


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        (b"", "is empty"),
        (b"just text", "Format not recognised"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "cannot be decoded"),
    ],
)
async def test_undecodable_audio(serve_fake, form, audio, told):
    client = await serve_fake()
    async with client.post("/convert", data=form(audio)) as answer:
        assert answer.status == 415
        assert told in await error_of(answer)


async def test_audio_without_samples(serve_fake, form, make_audio):
    client = await serve_fake()
    async with client.post("/convert", data=form(make_audio(0))) as answer:
        assert answer.status == 415
        assert "0 samples" in await error_of(answer)


async def test_recording_beyond_the_limit(serve_fake, form, make_audio):
    client = await serve_fake(max_audio_seconds=1)
    async with client.post("/convert", data=form(make_audio(1.2))) as answer:
        assert answer.status == 413
        assert "1 s" in await error_of(answer)


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("application/json", b"{}", "send multipart/form-data"),
        ("multipart/form-data", b"x", "boundary"),
        ("multipart/form-data; boundary=" + "x" * 80, b"x", "boundary"),
        ("multipart/form-data; boundary=x", b"", "boundary"),
        ("multipart/form-data; boundary=x", b"no form at all", "boundary"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nno header\r\n\r\nvalue\r\n--x--\r\n",
            "cut off or is no multipart",
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"y" * 20000 + b"\r\n\r\nv\r\n--x--\r\n", "cut off"),
        ("multipart/form-data; boundary=x", b"--x\r\nX: y\r\n\r\nvalue\r\n--x--\r\n", "has no name"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "has no field audio_file"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\nRIFF',
            "cut off",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="seed"\r\n\r\n\xff\xfe\r\n--x--\r\n',
            "not UTF-8",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nz\r\n--y--\r\n--x--\r\n",
            "a form of its own",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: fish\r\n\r\n1\r\n--x--\r\n',
            "unknown content transfer encoding",
        ),
    ],
)
async def test_malformed_forms(serve_fake, content_type, body, told):
    client = await serve_fake()
    async with client.post("/convert", data=body, headers={"Content-Type": content_type}) as answer:
        assert answer.status == 400
        assert told in await error_of(answer)


async def test_field_sent_twice(serve_fake, form, speech):
    client = await serve_fake()
    for name in ("seed", "audio_file"):
        data = form(speech, seed=1)
        data.add_field(name, "2")
        async with client.post("/convert", data=data) as answer:
            assert answer.status == 400
            assert f"'{name}' twice" in await error_of(answer)


async def test_bounds_of_the_fields(serve_fake, form):
    client = await serve_fake()
    async with client.post("/convert", data=form(None, seed="1" * 5000)) as answer:
        assert answer.status == 400
        assert "longer than 4096 bytes" in await error_of(answer)
    async with client.post("/convert", data=form(None, **{f"f{i}": i for i in range(65)})) as answer:
        assert answer.status == 400
        assert "more than 64 fields" in await error_of(answer)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "JSON array"),
        (b'"a"', 400, "JSON string"),
        (b"null", 400, "JSON literal"),
        (b"3", 400, "JSON number"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 60000, 400, "not JSON"),
        (b" " * 70000, 413, "larger than 65536 bytes"),
        (b'{"pitch_change": NaN}', 400, "NaN"),
        (b'{"pitch_change": {}}', 422, "pitch_change"),
        (b'{"pitch_change": 100, "seed": "x"}', 422, "seed"),
        (b'{"loudness": 1}', 422, "loudness: no such parameter"),
        (b'{"model_name": "nobody"}', 404, "known are bob"),
        (b'{"model_name": "\\ud800"}', 422, "model_name"),
    ],
)
async def test_wrong_json(serve_fake, body, status, told):
    client = await serve_fake()
    async with client.post("/convert/stream", data=body) as answer:
        assert answer.status == status
        assert told in await error_of(answer)


async def test_nobody_said_which_voice(serve_fake, form, speech):
    client = await serve_fake(defaults={})
    async with client.post("/convert", data=form(speech)) as answer:
        assert answer.status == 422
        assert "MODEL_NAME" in await error_of(answer)


async def test_unknown_route_and_method(serve_fake):
    client = await serve_fake()
    async with client.get("/nowhere/%0Aat/all") as answer:
        assert answer.status == 404
        assert "GET /docs" in await error_of(answer)
    async with client.delete("/convert") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert "it takes POST" in await error_of(answer)
    async with client.get("/ws/unknown") as answer:
        assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
        assert "ws://" in await error_of(answer)
    async with client.get("/ws/unknown", headers={"Upgrade": "websocket", "Connection": "Upgrade"}) as answer:
        assert answer.status == 404
        assert "there is no session 'unknown'" in await error_of(answer)


async def test_expectation_that_nobody_meets(serve_fake, form, speech):
    client = await serve_fake()
    async with client.post("/convert", data=form(speech), headers={"Expect": "fish"}) as answer:
        assert answer.status == 417
        assert "100-continue" in await error_of(answer)


async def test_client_that_asks_before_sending(serve_fake, form, speech):
    client = await serve_fake()
    async with client.post("/convert", data=form(speech), expect100=True) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("error", "status", "told", "retry_after"),
    [
        (Unavailable("the queue is full", 4.2), 503, "the queue is full", "5"),
        (Unavailable("going down"), 503, "going down", None),
        (MissingAsset("run `anivoice fetch rmvpe`"), 503, "run `anivoice fetch rmvpe`", None),
        (InvalidModelFile("the file is bad"), 422, "the file is bad", None),
    ],
)
async def test_errors_of_the_engine(serve_fake, fake, form, speech, error, status, told, retry_after):
    client = await serve_fake()
    fake.runner.error = error
    async with client.post("/convert", data=form(speech)) as answer:
        assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)
        assert await error_of(answer) == told


async def test_own_fault_tells_no_secret(serve_fake, fake, form, speech, caplog):
    client = await serve_fake()
    fake.runner.error = ZeroDivisionError("secret detail")
    async with client.post("/convert", data=form(speech)) as answer:
        assert answer.status == 500
        request_id = answer.headers["X-Request-Id"]
        assert await error_of(answer) == f"internal error; see the server's log, request {request_id}"
    assert "secret detail" in caplog.text
    assert f"request {request_id} failed" in caplog.text


async def test_missing_content_encoder_names_the_command(
    serve_fake, fake, form, speech, weights_dir, tmp_path, monkeypatch
):
    (tmp_path / "alice.pth").write_bytes((weights_dir / "alice.pth").read_bytes())
    monkeypatch.setattr(fake.runtime.voices, "library", VoiceLibrary(tmp_path))
    monkeypatch.setattr(fake.runtime.voices, "_voices", OrderedDict())
    client = await serve_fake()
    async with client.post("/convert", data=form(speech)) as answer:
        assert answer.status == 503
        assert "anivoice fetch contentvec" in await error_of(answer)


async def test_answer_that_breaks_off_is_not_taken_for_whole(serve_fake, form, speech, monkeypatch, caplog):
    client = await serve_fake()

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(convert_route, "SEND_BYTES", 1000)
    num_sent = 0
    write = web.StreamResponse.write

    async def fail(self, data) -> None:
        nonlocal num_sent
        num_sent += 1
        if num_sent == 3:
            raise ZeroDivisionError("while sending")
        await write(self, data)

    monkeypatch.setattr(web.StreamResponse, "write", fail)
    with pytest.raises(ClientError):
        async with client.post("/convert", data=form(speech)) as answer:
            await answer.read()
    assert "broke off" in caplog.text
    assert "POST /convert -> 500" in caplog.text


async def test_out_of_memory_is_503(fake, serve_fake, form, speech, caplog) -> None:
    client = await serve_fake()
    fake.runner.error = MemoryError()
    async with client.post("/convert", data=form(speech)) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert "memory" in await error_of(answer)
    assert "Traceback" not in caplog.text


async def test_the_recording_under_another_name_is_told(serve_fake, speech):
    client = await serve_fake()
    data = FormData()
    data.add_field("file", speech, filename="me.wav")
    async with client.post("/convert", data=data) as answer:
        assert answer.status == 400
        assert await error_of(answer) == "the recording's field is called audio_file, not 'file'"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/convert", "audio/wav"),
        ("/convert", "multipart/form-data; boundary=x"),
        ("/convert/stream", "application/json"),
    ],
)
async def test_a_false_encoding_is_told_in_plain_words(serve_fake, caplog, path, content_type):
    client = await serve_fake()
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
    async with client.post(path, data=b"this is not gzip" * 10, headers=headers, compress=None) as answer:
        assert answer.status == 400
        assert "Content-Encoding" in await error_of(answer)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("model_name=nosuch", 404, "nosuch"),
        ("pitch_change=99", 422, "pitch_change"),
        ("loudness=1", 422, "loudness: no such parameter"),
        ("seed=1&seed=2", 400, "'seed' twice"),
    ],
)
async def test_parameters_of_the_address_count(serve_fake, form, speech, query, status, told):
    client = await serve_fake()
    for path, data in (("/convert", form(speech)), ("/convert/stream", b"{}")):
        async with client.post(f"{path}?{query}", data=data) as answer:
            assert answer.status == status
            assert told in await error_of(answer)


async def test_the_body_goes_before_the_address(serve_fake, form, speech):
    client = await serve_fake()
    async with client.post("/convert?seed=1&output_format=flac", data=form(speech, seed=2)) as answer:
        assert answer.status == 200
        assert (answer.headers["X-Anivoice-Seed"], answer.content_type) == ("2", "audio/flac")
    async with client.post("/convert/stream?pitch_change=99", json={"pitch_change": 1}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("content_type", ["audio/wav", "audio/x-wav", "application/octet-stream"])
async def test_a_body_of_sound_is_a_recording(serve_fake, speech, content_type):
    client = await serve_fake()
    url = "/convert?model_name=bob&output_format=FLAC"
    async with client.post(url, data=speech, headers={"Content-Type": content_type}) as answer:
        assert answer.status == 200
        assert (answer.headers["X-Anivoice-Voice"], answer.content_type) == ("bob", "audio/flac")
    async with client.post("/convert", data=b"", headers={"Content-Type": content_type}) as answer:
        assert answer.status == 415
        assert "is empty" in await error_of(answer)


async def test_choices_are_read_as_they_are_written(serve_fake):
    client = await serve_fake()
    values = {"channels": "2", "sample_rate": "44100", "preset": "Low", "format": "PCM_S16LE", "unvoiced_f0": "Zero"}
    async with client.post("/convert/stream", json=values | {"events": None}) as answer:
        assert answer.status == 200
    async with client.post("/convert/stream", json={"channels": "3"}) as answer:
        assert answer.status == 422


async def test_a_full_disk_is_503(fake, serve_fake, form, speech: bytes) -> None:
    client = await serve_fake()
    fake.runner.error = OSError(errno.ENOSPC, "No space left on device")
    answer = await client.post("/convert", data=form(speech))
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert "disk" in await error_of(answer)
