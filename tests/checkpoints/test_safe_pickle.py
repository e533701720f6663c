"""Reading torch files: what is sound loads, everything else is refused in one sentence, and nothing ever runs."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from checkpoints import hostile_files as hostile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anivoice.checkpoints.pickle_records import read_pickle
from anivoice.checkpoints.safe_pickle import float_state, load_fairseq_checkpoint, load_torch_file
from anivoice.errors import InvalidModelFile

LOADERS = [load_torch_file, load_fairseq_checkpoint]
ATTACKS = sorted(hostile.attacks(Path("unused")))


def _refusal(load, path: Path) -> str:
    with pytest.raises(InvalidModelFile) as caught:
        load(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert message.endswith(".")
    return message


def _loads_or_refuses(load, path: Path) -> bool:
    try:
        load(path)
    except InvalidModelFile:
        _refusal(load, path)
        return False
    return True


@pytest.mark.parametrize("legacy", [False, True])
def test_a_sound_file_loads(tmp_path: Path, legacy: bool):
    base = torch.arange(24, dtype=torch.float16)
    content = {"model": OrderedDict(a=base.view(4, 6), b=base[3:9:2], c=torch.tensor(3.0)), "epoch": 3, "name": "x"}
    content["model"]["t"] = torch.randn(3, 5).t()
    path = tmp_path / "sound.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    for state in (load_torch_file(path)["model"], load_fairseq_checkpoint(path)):
        assert state.keys() == content["model"].keys()
        for name, tensor in content["model"].items():
            assert torch.equal(state[name], tensor)
            assert state[name].dtype == tensor.dtype
    assert load_torch_file(path)["epoch"] == 3


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_runs(tmp_path: Path, load, legacy: bool, attack: str):
    target = tmp_path / "canary"
    path = tmp_path / "attack.pt"
    (hostile.write_legacy if legacy else hostile.write_zip)(path, hostile.attacks(target)[attack])
    loads = _loads_or_refuses(load, path)
    assert not loads or load is load_fairseq_checkpoint or attack == "no_attack"
    assert not target.exists()


def test_the_attacks_are_real(tmp_path: Path):
    target = tmp_path / "canary"
    pickle.loads(hostile.attacks(target)["os_mkdir"])
    assert target.exists()


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"<!DOCTYPE html><html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n",
     b"RIFF\x00\x00\x00\x00WAVE", b"\x80\x02}q\x00.", b"PK\x03\x04" + b"\0" * 500, bytes(range(256)) * 8],
    ids=["empty", "zip_magic", "html", "lfs", "wav", "plain_pickle", "zero_zip", "binary"],
)  # fmt: skip
def test_foreign_files_are_refused(tmp_path: Path, load, content: bytes):
    path = tmp_path / "foreign.pth"
    path.write_bytes(content)
    _refusal(load, path)


@pytest.mark.parametrize("load", LOADERS)
def test_missing_files_directories_and_other_zips_are_refused(tmp_path: Path, load):
    _refusal(load, tmp_path / "missing.pth")
    (tmp_path / "folder.pth").mkdir()
    _refusal(load, tmp_path / "folder.pth")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    _refusal(load, tmp_path / "other.zip")


def test_a_page_saved_as_a_model_is_named(tmp_path: Path):
    path = tmp_path / "voice.pth"
    path.write_bytes(b"\n<html><body>404</body></html>")
    assert "web page" in _refusal(load_torch_file, path)


@pytest.mark.parametrize("load", LOADERS)
def test_compressed_archives_are_refused(tmp_path: Path, load):
    bomb = hostile.tensor_pickle(1 << 24, 0, (1 << 24,), (1,))
    path = hostile.write_zip(tmp_path / "bomb.pt", bomb, {"0": bytes(4 << 24)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "compressed" in _refusal(load, path)


@pytest.mark.parametrize(
    "claim",
    [
        (4, 0, (1 << 40,), (0,)),  # a terabyte of one number
        (4, 0, (1 << 40,), (1,)),  # reaches beyond its storage
        (1 << 40, 0, (4,), (1,)),  # a storage larger than the file
        (4, 1 << 62, (1,), (1,)),
        (4, 0, (2, 2), (1,)),  # shape and strides differ
        (3, 0, (3,), (1,)),  # smaller than its entry
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_claim_too_much_are_refused(tmp_path: Path, claim, legacy: bool):
    path = tmp_path / "claim.pt"
    data = hostile.tensor_pickle(*claim)
    if legacy:
        hostile.write_legacy(path, data, {"0": (4, bytes(16))})
    else:
        hostile.write_zip(path, data, {"0": bytes(16)})
    _refusal(load_fairseq_checkpoint, path)
    with pytest.raises(InvalidModelFile):
        float_state(load_torch_file(path)["weight"], path)


def test_many_views_of_one_storage_do_not_multiply_it(tmp_path: Path):
    big = torch.zeros(100_000)
    path = tmp_path / "views.pt"
    torch.save({"weight": {f"x{i}": big for i in range(50)}}, path)
    with pytest.raises(InvalidModelFile, match="larger than the file"):
        float_state(load_torch_file(path)["weight"], path)


def test_sparse_and_meta_tensors_are_refused(tmp_path: Path):
    path = tmp_path / "odd.pt"
    path.write_bytes(bytes(1000))
    for tensor in (torch.zeros(3, 3).to_sparse(), torch.zeros(10, device="meta")):
        with pytest.raises(InvalidModelFile, match="dense"):
            float_state({"x": tensor}, path)


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path: Path):
    doubled = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."
    for load in LOADERS:
        assert "dict key" in _refusal(load, hostile.write_zip(tmp_path / "hash.pt", doubled))


@pytest.mark.parametrize(
    "data",
    [
        b".", b"0.", b"}s.", b"(.", b"]a.", b"R.", b"\x81.", b"b.", b"h\x00.", b"r\xff\xff\xff\xff.", b"\x86.", b"t.",
        b"u.",         b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", b"N", b"\xff.", b"P1\n.", b"N\x93.", b"NQ.", b"c\n\n.",
        b"(((",
        b"\x80\x02}]ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ccollections\nOrderedDict\n(]K\x01aK\x01tR.",
    ],
)  # fmt: skip
def test_malformed_pickles_raise_value_error_or_give_data(data: bytes, tmp_path: Path):
    for load in LOADERS:
        _refusal(load, hostile.write_zip(tmp_path / "bad.pt", data))
        _refusal(load, hostile.write_legacy(tmp_path / "bad.pt", data))


def test_long_pickles_and_deep_nesting_end(tmp_path: Path):
    _refusal(load_fairseq_checkpoint, hostile.write_zip(tmp_path / "long.pt", b"N0" * 600_000 + b"}."))
    _refusal(load_torch_file, hostile.write_zip(tmp_path / "deep.pt", b"]" * 100_000 + b"a" * 99_999 + b"."))


def test_two_entries_of_one_name_are_refused(tmp_path: Path):
    path = tmp_path / "twice.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", b"}.")
    for load in LOADERS:
        assert "same name" in _refusal(load, path)


def test_foreign_classes_are_inert(tmp_path: Path):
    import argparse

    path = tmp_path / "fairseq.pt"
    torch.save({"model": {"w": torch.ones(2)}, "args": argparse.Namespace(a=1), "cfg": pickle.PickleError("x")}, path)
    assert torch.equal(load_fairseq_checkpoint(path)["w"], torch.ones(2))
    assert "argparse.Namespace" in _refusal(load_torch_file, path)


@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_and_dates_of_trainers_are_left_out(tmp_path: Path, legacy: bool):
    import datetime

    import numpy as np

    path = tmp_path / "trained.pth"
    content = {
        "weight": {"w": torch.arange(6.0).reshape(2, 3).t(), "loss": np.float64(0.5)},
        "config": [1, "40k", (2, 3)],
        "when": datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC),
        "curve": np.arange(4),
        "info": "200epoch",
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    read = load_torch_file(path)
    assert read.keys() == {"weight", "config", "info"}
    assert torch.equal(read["weight"]["w"], content["weight"]["w"])
    assert read["weight"].keys() == {"w"}
    assert (read["config"], read["info"]) == ([1, "40k", (2, 3)], "200epoch")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_nobody_is_told_to_switch_protection_off(tmp_path: Path):
    path = tmp_path / "protocol4.pt"
    torch.save({"weight": {"x": torch.ones(2)}, "raw": {1, 2}}, path, pickle_protocol=4)
    assert "trust" not in _refusal(load_torch_file, path)


def test_the_canary_stays_silent_conformance(conformance_dir: Path):
    canary = Path("/tmp/rvc_golden_canary")
    assert not canary.exists()
    path = conformance_dir / "hubert" / "tiny12_fairseq" / "canary_unsafe.pt"
    assert load_fairseq_checkpoint(path)
    _refusal(load_torch_file, path)
    assert not canary.exists()


def _damage(data: bytes, truncate: bool, where: float, value: int) -> bytes:
    position = int(where * (len(data) - 1))
    return data[:position] if truncate else data[:position] + bytes([data[position] ^ value]) + data[position + 1 :]


@pytest.mark.parametrize("legacy", [False, True])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(truncate=st.booleans(), where=st.floats(0, 1), value=st.integers(1, 255))
def test_damaged_files_load_or_are_refused(tmp_path: Path, legacy: bool, truncate: bool, where: float, value: int):
    sound = tmp_path / "sound.pt"
    if not sound.exists():
        state = {f"layer.{i}.weight": torch.full((2, 3), 0.5) for i in range(4)}
        torch.save({"model": state, "epoch": 1}, sound, _use_new_zipfile_serialization=not legacy)
    path = tmp_path / "damaged.pt"
    path.write_bytes(_damage(sound.read_bytes(), truncate, where, value))
    for load in LOADERS:
        _loads_or_refuses(load, path)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_pickle_or_plain_data(data: bytes):
    import io

    try:
        read_pickle(io.BytesIO(data + b"."))
    except ValueError:
        return


def test_a_legacy_storage_larger_than_the_file_is_refused(tmp_path: Path):
    data = hostile.tensor_pickle(1 << 50, 0, (4,), (1,))
    path = hostile.write_legacy(tmp_path / "huge.pt", data, {"0": (1 << 50, struct.pack("<4f", 1, 2, 3, 4))})
    for load in LOADERS:
        _refusal(load, path)


def shared_list_bomb() -> bytes:
    """One list of 1,000 pairs, from which 10,000 ordered dicts are made: 50 KB that become a gigabyte."""
    pairs = b"".join(b"(V%d\nK\x01t" % number for number in range(1000))
    one = b"ccollections\nOrderedDict\n(h\x00tR"
    return b"\x80\x02}(V" + b"weight\n" + b"](" + pairs + b"eq\x00V" + b"more\n](" + one * 10_000 + b"eu."


def colliding_keys_bomb() -> bytes:
    """Integers that all hash to the same value."""
    return pickle.dumps({"weight": {}, "x": {(2**61 - 1) * number: 0 for number in range(20)}}, 2)


@pytest.mark.parametrize("make", [shared_list_bomb, colliding_keys_bomb])
@pytest.mark.parametrize("write", [hostile.write_zip, hostile.write_legacy])
def test_small_files_that_would_become_huge_or_slow_are_refused_at_once(tmp_path, make, write):
    path = write(tmp_path / "bomb.pth", make())
    with pytest.raises(InvalidModelFile, match=r"over and over|out of range"):
        load_torch_file(path)


def test_the_checks_come_before_the_work():
    with pytest.raises(ValueError, match="over and over"):
        read_pickle(io.BytesIO(shared_list_bomb()))
    with pytest.raises(ValueError, match="out of range"):
        read_pickle(io.BytesIO(colliding_keys_bomb()))
