"""The warm-up: in the background, told about, never fatal."""

import shutil
import threading
from collections import OrderedDict

import pytest

from anivoice.checkpoints.file_stamp import stamp_of
from anivoice.engine.batch import WarmRequest
from anivoice.server.state import APP_STATE
from anivoice.voices.library import VoiceLibrary


async def readiness(client):
    async with client.get("/readyz") as answer:
        return answer.status, await answer.json()


@pytest.fixture
def use_folder(fake, monkeypatch):
    """Makes the server look into another folder."""

    def use(folder):
        monkeypatch.setattr(fake.runtime.library, "weights_dir", folder)
        monkeypatch.setattr(fake.runtime.voices, "library", VoiceLibrary(folder))
        monkeypatch.setattr(fake.runtime.voices, "_voices", OrderedDict())

    return use


async def test_default_voice_and_pitch_method_are_warmed(serve_fake, fake, until):
    client = await serve_fake(defaults={"model_name": "alice", "pitch_extraction_algo": "pm"})
    warm_up = client.app[APP_STATE].warm_up
    await until(lambda: warm_up.state == "done")
    assert await readiness(client) == (
        200,
        {"ready": True, "warm_up": "done", "problem": None, "voice": "alice", "pitch_method": "pm", "device": "cpu"},
    )
    (request,) = fake.runner.served
    assert isinstance(request, WarmRequest)
    assert (request.voice.name, request.algo) == ("alice", "pm")


async def test_pitch_method_that_nobody_chose(serve_fake, until):
    client = await serve_fake()
    await until(lambda: client.app[APP_STATE].warm_up.state == "done")
    assert (await readiness(client))[1]["pitch_method"] == "fcpe"


async def test_voice_without_pitch_needs_no_method(serve_fake, fake, until):
    client = await serve_fake(defaults={"model_name": "whisper"})
    await until(lambda: client.app[APP_STATE].warm_up.state == "done")
    assert (await readiness(client))[1]["pitch_method"] is None
    assert fake.runner.served[0].algo is None


async def test_without_a_default_the_first_good_voice_is_taken(serve_fake, weights_dir, use_folder, tmp_path, until):
    (tmp_path / "a_broken.pth").write_bytes(b"nothing")
    (tmp_path / "contentvec").symlink_to(weights_dir / "contentvec")
    (tmp_path / "whisper.pth").write_bytes((weights_dir / "whisper.pth").read_bytes())
    use_folder(tmp_path)
    client = await serve_fake(defaults={})
    await until(lambda: client.app[APP_STATE].warm_up.state == "done")
    assert (await readiness(client))[1]["voice"] == "whisper"


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ({"model_name": "nobody"}, "there is no voice 'nobody'"),
        ({"model_name": "broken"}, "broken.pth"),
        ({"model_name": "mismatch", "index_rate": 0.5}, "set index_rate to 0"),
        ({"model_name": "alice", "pitch_extraction_algo": "rmvpe"}, "anivoice fetch rmvpe"),
    ],
)
async def test_failure_is_told_and_the_server_lives(serve_fake, form, speech, until, caplog, defaults, told):
    client = await serve_fake(defaults=defaults)
    await until(lambda: client.app[APP_STATE].warm_up.state == "failed")
    status, answer = await readiness(client)
    assert (status, answer["ready"], answer["warm_up"]) == (503, False, "failed")
    assert told in answer["problem"]
    assert told in caplog.text
    fields = {"model_name": "whisper", "index_rate": 0}
    async with client.post("/convert", data=form(speech, **fields)) as converted:
        assert converted.status == 200


async def test_own_fault_in_the_warm_up_tells_no_secret(serve_fake, fake, until, monkeypatch, caplog):
    def fail(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(fake.runner.pitch, "require", fail)
    client = await serve_fake()
    await until(lambda: client.app[APP_STATE].warm_up.state == "failed")
    assert (await readiness(client))[1]["problem"] == "internal error; see the server's log"
    assert "secret detail" in caplog.text


async def test_asking_again_later_tries_again(serve_fake, fake, weights_dir, use_folder, tmp_path, until):
    use_folder(tmp_path)
    client = await serve_fake(defaults={})
    warm_up = client.app[APP_STATE].warm_up
    await until(lambda: warm_up.state == "failed")
    assert "put a voice's .pth into" in (await readiness(client))[1]["problem"]
    (tmp_path / "contentvec").symlink_to(weights_dir / "contentvec")
    (tmp_path / "whisper.pth").write_bytes((weights_dir / "whisper.pth").read_bytes())
    await readiness(client)
    assert warm_up.state == "failed"
    fake.clock.now_s += 11
    status, answer = await readiness(client)
    assert (status, answer["warm_up"]) == (503, "running")
    await until(lambda: warm_up.state == "done")
    assert (await readiness(client))[0] == 200


async def test_server_answers_while_it_warms_up(serve_fake, fake, monkeypatch):
    let_go = threading.Event()
    acquire = fake.runtime.voices.acquire

    def slow(*args):
        let_go.wait()
        return acquire(*args)

    monkeypatch.setattr(fake.runtime.voices, "acquire", slow)
    client = await serve_fake()
    async with client.get("/healthz") as answer:
        assert answer.status == 200
    assert await readiness(client) == (
        503,
        {"ready": False, "warm_up": "running", "problem": None, "voice": None, "pitch_method": None, "device": "cpu"},
    )
    let_go.set()


async def test_without_a_voice_it_is_not_ready(serve_fake, fake, use_folder, weights_dir, tmp_path, until):
    shutil.copyfile(weights_dir / "whisper.pth", tmp_path / "whisper.pth")
    shutil.copytree(weights_dir / "contentvec", tmp_path / "contentvec")
    use_folder(tmp_path)
    client = await serve_fake(defaults={}, weights_dir=tmp_path)
    await until(lambda: client.app[APP_STATE].warm_up.state == "done")
    async with client.get("/readyz") as answer:
        assert answer.status == 200
    (tmp_path / "whisper.pth").unlink()
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        assert "there is no voice" in (await answer.json())["problem"]


def test_a_link_to_itself_is_no_fault_of_ours(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x", "utf-8")
    looping, plain = stamp_of([tmp_path / "loop", tmp_path / "file"])
    assert looping == (str(tmp_path / "loop"), 0, 0)
    assert plain[2] == 1


async def test_a_dead_engine_is_told_and_is_not_ready(serve_fake, fake, monkeypatch):
    def fail() -> None:
        raise ValueError("no such device")

    monkeypatch.setattr(fake.runner, "open", fail)
    client = await serve_fake()
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        told = await answer.json()
    assert told["ready"] is False
    assert "no such device" in told["problem"]
    async with client.post("/convert/stream", json={}) as answer:
        assert answer.status == 503
        assert "no such device" in (await answer.json())["error"]
