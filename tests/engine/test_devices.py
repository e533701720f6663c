"""The choice of a device, with CUDA and MPS faked where the machine has none."""

from types import SimpleNamespace

import pytest
import torch

from anivoice.engine.devices import (
    choose_device,
    describe_devices,
    find_device_problem,
    num_usable_cores,
)
from anivoice.errors import InvalidParameter

GIB = 2**30
HAS_CUDA = torch.cuda.is_available()


def fake_cuda(monkeypatch: pytest.MonkeyPatch, num_devices: int) -> None:
    def get_device_properties(index: int) -> SimpleNamespace:
        return SimpleNamespace(name=f"GPU {index}", major=9, minor=0, total_memory=(8 + index) * GIB)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_devices)
    monkeypatch.setattr(torch.cuda, "get_device_properties", get_device_properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3 * GIB, 8 * GIB))


def fake_mps(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5 * GIB)


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda(monkeypatch, 0)
    fake_mps(monkeypatch, False)


@pytest.mark.parametrize("force", [None, "auto", "cpu"])
def test_without_gpu_the_cpu_is_taken(force: str | None) -> None:
    assert choose_device(None, force) == torch.device("cpu")


@pytest.mark.parametrize(
    ("gpu_index", "force", "chosen"),
    [
        (None, None, "cuda:0"),
        (None, "auto", "cuda:0"),
        (1, None, "cuda:1"),
        (1, "auto", "cuda:1"),
        (None, "cuda", "cuda:0"),
        (1, "cuda", "cuda:1"),
        (1, "cpu", "cpu"),
        (None, "cpu", "cpu"),
    ],
)
def test_choice_among_gpus(monkeypatch: pytest.MonkeyPatch, gpu_index: int | None, force: str, chosen: str) -> None:
    fake_cuda(monkeypatch, 2)
    assert choose_device(gpu_index, force) == torch.device(chosen)


@pytest.mark.parametrize("gpu_index", [2, 7, -1])
def test_index_beyond_the_gpus_names_those_there_are(monkeypatch: pytest.MonkeyPatch, gpu_index: int) -> None:
    fake_cuda(monkeypatch, 2)
    with pytest.raises(InvalidParameter, match=rf"GPU_INDEX is {gpu_index}.*0 \(GPU 0\), 1 \(GPU 1\)"):
        choose_device(gpu_index)


@pytest.mark.parametrize(("gpu_index", "force"), [(0, None), (0, "cuda"), (None, "cuda")])
def test_gpu_asked_for_is_never_replaced_by_the_cpu(gpu_index: int | None, force: str | None) -> None:
    with pytest.raises(InvalidParameter, match="To run on the CPU, leave GPU_INDEX empty"):
        choose_device(gpu_index, force)


def test_reason_for_no_cuda_is_the_build_or_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InvalidParameter, match="a build without CUDA"):
        choose_device(0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(InvalidParameter, match="NVIDIA driver"):
        choose_device(0)


def test_mps_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidParameter, match="no Apple GPU support"):
        choose_device(None, "mps")
    fake_mps(monkeypatch, True)
    assert choose_device(None, "mps") == torch.device("mps")
    assert choose_device() == torch.device("cpu")


def test_unknown_device_kind_lists_the_known_ones() -> None:
    with pytest.raises(InvalidParameter, match="'tpu' is not known: use one of auto, cpu, cuda, mps"):
        choose_device(None, "tpu")


def test_description_of_a_bare_machine() -> None:
    (cpu,) = describe_devices()
    assert cpu.name == "cpu"
    assert cpu.problem is None
    assert f"{num_usable_cores()} cores" in cpu.description


def test_description_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda(monkeypatch, 2)
    fake_mps(monkeypatch, True)
    tried: list[str] = []

    def find_problem(device: torch.device) -> str | None:
        tried.append(str(device))
        return "no kernel image is available" if device.index == 1 else None

    _, first, second, mps = describe_devices(find_problem)
    assert tried == ["cuda:0", "cuda:1", "mps"]
    assert (first.name, first.total_bytes, first.free_bytes, first.problem) == ("cuda:0", 8 * GIB, 3 * GIB, None)
    assert first.description == "GPU 0, compute capability 9.0"
    assert (second.free_bytes, second.problem) == (None, "no kernel image is available")
    assert (mps.name, mps.total_bytes) == ("mps", 5 * GIB)


def test_trial_computation() -> None:
    assert find_device_problem(torch.device("cpu")) is None
    assert find_device_problem(torch.device("meta")) is not None


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")
def test_real_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    gpus = [info for info in describe_devices() if info.name.startswith("cuda")]
    assert gpus
    assert all(info.problem is None and info.total_bytes and info.free_bytes for info in gpus)
    assert choose_device(len(gpus) - 1) == torch.device(gpus[-1].name)
