"""What the processor of these tests can do."""

import pytest
import torch

needs_bf16_products = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN multiplies no bfloat16 on this processor: it needs AVX-512 or avx_ne_convert",
)
