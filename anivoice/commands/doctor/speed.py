"""How fast the CPU multiplies, and whether more threads help. They can do great harm: see `check_threads`."""

import os
import time
from collections.abc import Callable, Mapping

from anivoice.commands.doctor.finding import Finding

MATRIX_SIZE = 512
PROBE_SECONDS = 0.9
MIN_GAIN = 0.95


def check_threads(environment: Mapping[str, str]) -> list[Finding]:
    """OpenMP's waiting threads must sleep: when they spin and another process holds a core, all is 30 times slower."""
    import torch

    from anivoice.engine.devices import num_usable_cores

    policy = environment.get("OMP_WAIT_POLICY", "not set")
    detail = f"{torch.get_num_threads()} threads on {num_usable_cores()} cores, OMP_WAIT_POLICY {policy}"
    if policy.lower() == "passive" or torch.get_num_threads() == 1:
        return [Finding("threads", "ok", detail)]
    return [Finding("threads", "slow", detail, "Set OMP_WAIT_POLICY=PASSIVE before the start.")]


def measure_gflops(num_threads: int, seconds: float) -> float:
    """Billions of multiplications and additions a second in a float32 matrix product of 512 x 512."""
    import torch

    usual_num_threads = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        matrix = torch.full((MATRIX_SIZE, MATRIX_SIZE), 1 / MATRIX_SIZE)
        product = matrix @ matrix
        num_products, start_s = 0, time.perf_counter()
        while (elapsed_s := time.perf_counter() - start_s) < seconds or num_products == 0:
            torch.mm(matrix, matrix, out=product)
            num_products += 1
    finally:
        torch.set_num_threads(usual_num_threads)
    return 2 * MATRIX_SIZE**3 * num_products / elapsed_s / 1e9


def check_speed(
    num_threads: int | None = None,
    measure: Callable[[int, float], float] = measure_gflops,
    seconds: float = PROBE_SECONDS,
) -> list[Finding]:
    """Measures with one thread and with `num_threads` (default: torch's), `seconds` each."""
    if num_threads is None:
        import torch

        num_threads = torch.get_num_threads()
    single_gflops = measure(1, seconds)
    detail = f"{single_gflops:.0f} GFLOP/s with 1 thread"
    if num_threads == 1:
        return [Finding("speed", "ok", detail)]
    gflops = measure(num_threads, seconds)
    detail += f", {gflops:.0f} with {num_threads}"
    if gflops >= MIN_GAIN * single_gflops:
        return [Finding("speed", "ok", detail)]
    remedy = "Run with --threads 1 (ANIVOICE_THREADS=1), or stop what keeps the cores busy."
    return [Finding("speed", "slow", f"{detail}: more threads make it slower", remedy)]


def current_environment() -> Mapping[str, str]:
    return os.environ
