"""Everything that changes the whole process or a whole thread, in one place. No torch at import."""

import ctypes
import gc
import os
import sys

MEBIBYTE = 2**20

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
MAPPED_BYTES = 32 * MEBIBYTE
"""From here on memory is mapped by itself, and goes back when it is freed: the most that glibc allows."""
KEPT_BYTES = 128 * MEBIBYTE

SWITCH_SECONDS = 0.0003
"""How long the engine's thread may keep the interpreter while the event loop waits for it; Python's own is 5 ms."""


def configure_process() -> None:
    """What must be set before torch is imported.

    Two OpenMP threads that spin while another process holds a core are 30 times slower than two that sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Whether the C library can be told (glibc) to keep what is freed, up to KEPT_BYTES per thread.

    Otherwise it hands tensors' memory back to the system and asks for it anew, page by page: 2500 page faults and 7 ms
    of the 55 that a live block took.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(option, value) for option, value in ((M_MMAP_THRESHOLD, MAPPED_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES))
    )


def switch_threads_often() -> None:
    """The event loop gets the interpreter soon, whatever the engine's thread is doing."""
    sys.setswitchinterval(SWITCH_SECONDS)


def freeze_garbage() -> None:
    """Takes what is there now from the garbage collector: all modules, a first voice.

    A full collection takes 0.2 s with torch, and every thread stands still meanwhile.
    """
    gc.collect()
    gc.freeze()


def prepare_compute_thread(num_threads: int | None = None) -> None:
    """For the calling thread. `num_threads`: of OpenMP, which keeps that number for each thread; None: as it is.

    Denormal numbers, which silence is full of, cost a hundred times as much as others, and are taken for zero.
    """
    import torch

    if num_threads is not None:
        torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)


def compute_exact_float32() -> None:
    """float32 means float32 on CUDA devices: TF32 would cost three digits."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
