"""Voices over REST: shapes in which people share them, hostile ones, names, defaults, pictures, who may."""

import asyncio
import errno
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from aiohttp import FormData
from conformance import OWN_VECTORS as VECTORS

VOICE = (VECTORS / "synth" / "v1_f0_40k.pth").read_bytes()
INDEX = (VECTORS / "retrieval" / "added_v1_256.index").read_bytes()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def own_weights(weights_dir, tmp_path):
    """A copy that a test may change; alice, and bob without an index."""
    for name in ("alice.pth", "bob.pth"):
        shutil.copy(weights_dir / name, tmp_path / name)
    return tmp_path


@pytest.fixture
async def client(serve_fake, fake, own_weights):
    fake.runtime.library.weights_dir = own_weights
    return await serve_fake()


def packed(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **{"compression": zipfile.ZIP_DEFLATED} | options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def upload(*files, **fields):
    data = FormData(default_to_multipart=True)
    for name, value in fields.items():
        data.add_field(name, value)
    for file_name, content in files:
        data.add_field("file", io.BytesIO(content), filename=file_name)
    return data


async def post(client, *files, status=201, **fields):
    async with client.post("/models", data=upload(*files, **fields)) as answer:
        body = await answer.json()
        assert answer.status == status, body
        return body


async def card(client, name, status=200):
    async with client.get(f"/models/{name}") as answer:
        assert answer.status == status
        return await answer.json()


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_voice_tells_all_that_is_known(client, own_weights):
    shutil.copy(VECTORS / "retrieval" / "added_v1_256.index", own_weights / "added_IVF20_Flat_nprobe_1_alice_v1.index")
    told = await card(client, "alice.pth")
    assert (told["name"], told["version"], told["sample_rate_hz"], told["has_f0"]) == ("alice", "v1", 40000, True)
    assert told["index"]["file"] == "added_IVF20_Flat_nprobe_1_alice_v1.index"
    assert told["index"]["reason"] == "its name says that it is for alice"
    assert told["index"]["num_vectors"] == 800
    assert (told["problem"], told["picture"], told["defaults"], told["can_change"]) == (None, None, {}, True)
    assert "no voice 'nobody'" in (await card(client, "nobody", 404))["error"]
    (own_weights / "broken.pth").write_bytes(b"x")
    assert "broken.pth" in (await card(client, "broken"))["problem"]


@pytest.mark.parametrize(
    ("files", "names", "has_index"),
    [
        ([("Mia.pth", VOICE)], ["Mia"], False),
        ([("C:\\voices\\Mia.PTH", VOICE), ("added_IVF1_Flat_nprobe_1_Mia_v2.index", INDEX)], ["Mia"], True),
        ([("Mia_e200_s400.pth", VOICE), ("x.index", INDEX)], ["Mia_e200_s400"], True),
        (
            [("Mia.zip", packed({"Mia/weights/Mia.pth": VOICE, "Mia/logs/added_IVF1_Mia_v2.index": INDEX}))],
            ["Mia"],
            True,
        ),
        (
            [("m.zip", packed({"model.pth": VOICE, "a.png": PNG, "D_1.pth": VOICE, "r.txt": b"x" * 10**6}))],
            ["model"],
            False,
        ),
        ([("two.zip", packed({"one.pth": VOICE, "b/two.pth": VOICE}))], ["one", "two"], False),
    ],
)
async def test_voices_come_as_people_share_them(client, own_weights, files, names, has_index):
    body = await post(client, *files)
    assert [voice["name"] for voice in body["voices"]] == names
    assert all(voice["problem"] is None for voice in body["voices"])
    assert all((voice["index"] is not None) == has_index for voice in body["voices"])
    assert {f"{name}.pth" for name in names} <= visible(own_weights)
    async with client.get("/models") as answer:
        assert set(names) <= set((await answer.json())["models"])
    assert not any(name.startswith(".") for name in visible(own_weights))


async def test_what_is_left_out_is_told(client):
    members = {"model.pth": VOICE, "cover.png": PNG, "D_1.pth": VOICE, "trained_IVF1_model_v2.index": b"x"}
    left_out = (await post(client, ("m.zip", packed(members)), ("notes.txt", b"x")))["left_out"]
    assert {one["file"] for one in left_out} == {"cover.png", "D_1.pth", "trained_IVF1_model_v2.index", "notes.txt"}


def with_link():
    info = zipfile.ZipInfo("link.pth")
    info.external_attr = 0o120777 << 16
    return {info: b"/etc/passwd"}


HOSTILE = {
    "traversal": (("x.zip", packed({"../evil.pth": VOICE})), 422, "leads out"),
    "absolute": (("x.zip", packed({"/evil.pth": VOICE})), 422, "leads out"),
    "drive": (("x.zip", packed({"C:\\evil.pth": VOICE})), 422, "leads out"),
    "link": (("x.zip", packed(with_link())), 422, "a link"),
    "bomb": (("x.zip", packed({"evil.pth": bytes(50_000_000)})), 422, "mere filling"),
    "many": (("x.zip", packed({f"{n}.txt": b"" for n in range(1500)})), 422, "1500 files"),
    "no zip": (("x.zip", b"PK\x03\x04 nothing"), 422, "no sound .zip"),
    "empty zip": (("x.zip", packed({})), 422, "no voice came"),
    "broken": (("x.pth", b"PK\x03\x04 not a voice"), 422, "x.pth"),
    "cut off": (("x.pth", VOICE[: len(VOICE) // 2]), 422, "x.pth"),
    "trained": (("trained_IVF1_alice_v1.index", INDEX[:200]), 422, "holds no vectors"),
    "discriminator": (("D_2333333.pth", VOICE), 422, "judges"),
    "same twice": (("x.zip", packed({"a/x.pth": VOICE, "b/x.pth": VOICE})), 422, "two files are called x.pth"),
    "other index": (("nobody.index", INDEX), 404, "named for no voice"),
    "no voice": (("x.txt", b"hello"), 422, "no voice came"),
    "known": (("alice.pth", VOICE), 409, "already"),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_what_is_refused_leaves_nothing_behind(client, own_weights, kind):
    file, status, told = HOSTILE[kind]
    before = visible(own_weights)
    assert told in (await post(client, file, status=status))["error"]
    assert visible(own_weights) == before


async def test_a_second_broken_voice_keeps_the_first_out(client, own_weights):
    before = visible(own_weights)
    await post(client, ("good.pth", VOICE), ("bad.pth", b"PK bad"), status=422)
    assert visible(own_weights) == before


async def test_a_full_disk_is_told_and_leaves_nothing_behind(client, own_weights, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    before = visible(own_weights)
    assert "full" in (await post(client, ("x.zip", packed({"x.pth": VOICE})), status=503))["error"]
    assert visible(own_weights) == before


async def test_an_upload_that_breaks_off_leaves_nothing_behind(client, own_weights, until):
    before = visible(own_weights)

    async def slow():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.pth"\r\n\r\n' + VOICE[:5000]
        await asyncio.sleep(60)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    request = asyncio.ensure_future(client.post("/models", data=slow(), headers=headers))
    await until(lambda: visible(own_weights) != before)
    request.cancel()
    await until(lambda: visible(own_weights) == before)


async def test_an_index_alone_goes_to_its_voice(client):
    body = await post(client, ("added_IVF20_Flat_nprobe_1_bob_v1.index", INDEX))
    assert body["voices"][0]["index"]["num_vectors"] == 800
    body = await post(client, ("any.index", INDEX), name="alice")
    assert body["voices"][0]["name"] == "alice"


async def test_a_name_and_a_replacement(client, own_weights):
    await post(client, ("model.pth", VOICE), name="alice", status=409)
    body = await post(client, ("model.pth", VOICE), name="alice", replace="true")
    assert body["voices"][0]["file"] == "alice.pth"
    for name in ("../x", ".x", "a:b", "x" * 300):
        await post(client, ("model.pth", VOICE), name=name, status=422)
    await post(client, ("a.pth", VOICE), ("b.pth", VOICE), name="one", status=422)
    assert (await post(client, ("model.pth", VOICE), name="Zoe\u0301"))["voices"][0]["name"] == "Zoé"


async def test_renaming_takes_everything_along(client, own_weights):
    shutil.copy(VECTORS / "retrieval" / "added_v1_256.index", own_weights / "alice.index")
    async with client.put("/models/alice/picture", data=PNG) as answer:
        assert answer.status == 204
    async with client.patch("/models/alice", json={"defaults": {"pitch_change": 12}}) as answer:
        assert (await answer.json())["defaults"] == {"pitch_change": 12}
    async with client.patch("/models/alice", json={"name": "bob"}) as answer:
        assert answer.status == 409
    async with client.patch("/models/alice", json={"name": "Alice B."}) as answer:
        told = await answer.json()
    assert (told["name"], told["index"]["file"]) == ("Alice B.", "Alice B..index")
    assert (told["picture"], told["defaults"]) == ("/models/Alice%20B./picture", {"pitch_change": 12})
    assert visible(own_weights) == {"Alice B..pth", "Alice B..index", "Alice B..json", "Alice B..png", "bob.pth"}
    async with client.delete("/models/Alice%20B.") as answer:
        assert answer.status == 204
    assert visible(own_weights) == {"bob.pth"}


async def test_an_index_that_two_voices_share_stays(client, own_weights):
    for epoch in (100, 200):
        shutil.copy(own_weights / "alice.pth", own_weights / f"Mia_e{epoch}_s1.pth")
    shutil.copy(VECTORS / "retrieval" / "added_v1_256.index", own_weights / "added_IVF1_Flat_Mia_v1.index")
    async with client.patch("/models/Mia_e100_s1", json={"name": "Other"}) as answer:
        assert (await answer.json())["index"]["file"] == "Other.index"
    async with client.delete("/models/Other") as answer:
        assert answer.status == 204
    assert (await card(client, "Mia_e200_s1"))["index"]["file"] == "added_IVF1_Flat_Mia_v1.index"


async def test_a_voice_in_a_folder_of_its_own_goes_with_it(client, own_weights):
    (own_weights / "Kit").mkdir()
    shutil.copy(own_weights / "alice.pth", own_weights / "Kit" / "model.pth")
    async with client.delete("/models/Kit") as answer:
        assert answer.status == 204
    assert not (own_weights / "Kit").exists()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"defaults": {"pitch_change": 99}}, "pitch_change"),
        ({"defaults": {"model_name": "bob"}}, "model_name"),
        ({"defaults": {"volume": 1}}, "no such parameter"),
        ({"defaults": 3}, "must be an object"),
        ({"name": 3}, "must be text"),
        ({"nam": "x"}, "no such entry"),
    ],
)
async def test_wrong_changes_are_named(client, own_weights, body, told):
    async with client.patch("/models/alice", json=body) as answer:
        assert answer.status == 422
        assert told in (await answer.json())["error"]
    assert visible(own_weights) == {"alice.pth", "bob.pth"}


async def test_defaults_keep_the_other_settings_and_go_away(client, own_weights):
    (own_weights / "alice.json").write_text('{"unvoiced_f0": "interpolate"}')
    for defaults in ({"protect": 0.4}, {}):
        async with client.patch("/models/alice", json={"defaults": defaults}) as answer:
            told = await answer.json()
        assert (told["defaults"], told["unvoiced_f0"]) == (defaults, "interpolate")
    assert json.loads((own_weights / "alice.json").read_text()) == {"unvoiced_f0": "interpolate"}


async def test_pictures(client):
    for content, kind in ((PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF1234WEBP", "image/webp")):
        async with client.put("/models/alice/picture", data=content) as answer:
            assert answer.status == 204
        async with client.get("/models/alice/picture") as answer:
            assert (await answer.read(), answer.content_type) == (content, kind)
    for content, status in ((b"<svg onload=alert(1)>", 422), (b"RIFF1234WAVE", 422), (PNG + bytes(2**20), 413)):
        async with client.put("/models/alice/picture", data=io.BytesIO(content)) as answer:
            assert answer.status == status
    async with client.delete("/models/alice/picture") as answer:
        assert answer.status == 204
    async with client.get("/models/alice/picture") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("settings", "may"),
    [
        ({}, True),
        ({"voice_changes": "off"}, False),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "voice_changes": "on"}, True),
        ({"host": "0.0.0.0", "api_key": "secret-key"}, True),
    ],
)
async def test_who_may_change_voices(serve_fake, fake, own_weights, settings, may):
    fake.runtime.library.weights_dir = own_weights
    client = await serve_fake(**settings)
    headers = {"Authorization": "Bearer secret-key"}
    async with client.get("/models/alice", headers=headers) as answer:
        assert (await answer.json())["can_change"] == may
    async with client.delete("/models/bob", headers=headers) as answer:
        assert answer.status == (204 if may else 403)
    if "api_key" in settings:
        async with client.delete("/models/alice") as answer:
            assert answer.status == 401


async def test_other_pages_may_not_change_voices(client, own_weights):
    for method in ("delete", "patch"):
        async with getattr(client, method)("/models/alice", headers={"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403
    assert "alice.pth" in visible(own_weights)
