"""What a CPU computes fastest with."""

from functools import cache

import torch

NATIVE_BF16 = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply bfloat16 without converting it first."""


@cache
def fastest_cpu_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it by itself: weights are half as many bytes then, and a small window
    takes about as long as it takes to read them. Else float32.
    """
    # Older torch does not tell.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if any(capabilities.get(name) for name in NATIVE_BF16) else torch.float32
