"""What this machine can compute on, and the choice of one device. No other room asks torch.cuda or torch.mps."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from anivoice.errors import InvalidParameter

DEVICE_KINDS = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class DeviceInfo:
    """One device. `name` is torch's ("cuda:0"), `total_bytes` / `free_bytes` its memory, None where torch cannot tell.

    `problem` is None if a small computation on it succeeds, else what went wrong.
    """

    name: str
    description: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    problem: str | None = None


def describe_devices(find_problem: Callable[[torch.device], str | None] | None = None) -> list[DeviceInfo]:
    """The CPU first, then the CUDA devices by index, then MPS. `find_problem` is the trial each one undergoes."""
    find_problem = find_problem or find_device_problem
    infos = [_describe_cpu()]
    if torch.cuda.is_available():
        infos += [_describe_cuda(index, find_problem) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        problem = find_problem(torch.device("mps"))
        infos.append(DeviceInfo("mps", "Apple GPU", total_bytes=_mps_memory_bytes(), problem=problem))
    return infos


def choose_device(gpu_index: int | None = None, force: str | None = None) -> torch.device:
    """The device to run on.

    `force` is "cpu", "cuda" or "mps"; None or "auto" takes CUDA where there is one, else the CPU (MPS only when asked
    for by name). `gpu_index` picks among the CUDA devices, default 0; with it, "auto" means CUDA. "cpu" ignores it.
    Raises InvalidParameter when the device does not exist: the CPU is never taken in the place of a GPU asked for.
    """
    kind = force or "auto"
    if kind not in DEVICE_KINDS:
        raise InvalidParameter(f"device {kind!r} is not known: use one of {', '.join(DEVICE_KINDS)}")
    if kind == "mps":
        return _choose_mps()
    if kind == "cpu" or (kind == "auto" and gpu_index is None and not torch.cuda.is_available()):
        return torch.device("cpu")
    return _choose_cuda(gpu_index)


def num_usable_cores() -> int:
    """CPU cores that this process may use (containers and `taskset` give fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_device_problem(device: torch.device) -> str | None:
    """None if a small computation works: a driver too old or a torch built for other GPUs shows only then."""
    try:
        total = torch.ones(8, device=device).mul(2).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None if total == 16.0 else f"8 x 2 came out as {total}"


def _choose_cuda(gpu_index: int | None) -> torch.device:
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = gpu_index or 0
    if 0 <= index < num_devices:
        return torch.device("cuda", index)
    wanted = "device cuda was asked for" if gpu_index is None else f"GPU_INDEX is {gpu_index}"
    if num_devices > 0:
        there_are = ", ".join(f"{i} ({torch.cuda.get_device_name(i)})" for i in range(num_devices))
        raise InvalidParameter(f"{wanted}, but the CUDA devices of this machine are: {there_are}")
    raise InvalidParameter(
        f"{wanted}, but {_why_no_cuda()}. To run on the CPU, leave GPU_INDEX empty and the device at auto or cpu"
    )


def _why_no_cuda() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"the installed torch {torch.__version__} is a build without CUDA"
    return "torch finds no CUDA device: is the NVIDIA driver installed, and does CUDA_VISIBLE_DEVICES hide it?"


def _choose_mps() -> torch.device:
    if not torch.backends.mps.is_available():
        raise InvalidParameter("device mps was asked for, but this machine or this torch has no Apple GPU support")
    return torch.device("mps")


def _describe_cpu() -> DeviceInfo:
    return DeviceInfo("cpu", f"{num_usable_cores()} cores, {torch.backends.cpu.get_cpu_capability()}")


def _describe_cuda(index: int, find_problem: Callable[[torch.device], str | None]) -> DeviceInfo:
    properties = torch.cuda.get_device_properties(index)
    problem = find_problem(torch.device("cuda", index))
    return DeviceInfo(
        name=f"cuda:{index}",
        description=f"{properties.name}, compute capability {properties.major}.{properties.minor}",
        total_bytes=properties.total_memory,
        free_bytes=None if problem else torch.cuda.mem_get_info(index)[0],
        problem=problem,
    )


def _mps_memory_bytes() -> int | None:
    return torch.mps.recommended_max_memory() or None
