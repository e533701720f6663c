"""Toom-Cook filtering equals the plain convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.cpu.toom_cook import (
    BIAS_ROW,
    DirectConv,
    RowLayout,
    Rows,
    Scratch,
    ToomCookConv,
    row_conv,
    toom_cook_scheme,
)

REACH_ROWS, SLACK_ROWS = 25, 400


def rows_of(signal: Tensor, num_segments: int) -> Rows:
    """`[L, C]` laid out in segments."""
    rows = Rows(RowLayout(len(signal), num_segments, signal.shape[1], REACH_ROWS, SLACK_ROWS))
    num_rows = rows.layout.num_rows
    padded = F.pad(signal, (0, 0, 0, num_rows * num_segments - len(signal)))
    rows.inner.copy_(padded.view(num_segments, num_rows, -1).transpose(0, 1))
    return rows


def signal_of(rows: Rows) -> Tensor:
    return rows.inner.transpose(0, 1).reshape(-1, rows.layout.channels)[: rows.layout.num_samples]


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 11, 13])
def test_scheme_is_filtering(kernel_size: int) -> None:
    weights, analysis, synthesis = toom_cook_scheme(kernel_size)
    generator = torch.Generator().manual_seed(kernel_size)
    frame, taps = (torch.randn(n, generator=generator).double() for n in (analysis.shape[1], kernel_size))
    expected = F.conv1d(frame[None, None], taps[None, None])[0, 0]
    torch.testing.assert_close(synthesis @ ((weights @ taps) * (analysis @ frame)), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(synthesis[:, BIAS_ROW], torch.ones(len(synthesis)).double())


@pytest.mark.parametrize("form", [DirectConv, ToomCookConv])
@settings(max_examples=30, deadline=None)
@given(
    kernel_size=st.sampled_from([1, 3, 5, 7, 11]),
    dilation=st.integers(1, 5),
    num_segments=st.integers(1, 4),
    num_rows=st.integers(REACH_ROWS, 90),
    missing_rows=st.integers(0, 20),
    add=st.booleans(),
    seed=st.integers(0, 1000),
)
@torch.inference_mode()
def test_row_conv_equals_conv1d(
    form: type[DirectConv | ToomCookConv],
    kernel_size: int,
    dilation: int,
    num_segments: int,
    num_rows: int,
    missing_rows: int,
    add: bool,
    seed: int,
) -> None:
    if num_segments == 1:
        missing_rows = 0
    torch.manual_seed(seed)
    padding = (kernel_size - 1) // 2 * dilation
    conv = nn.Conv1d(6, 6, kernel_size, padding=padding, dilation=dilation)
    x, y = torch.randn(2, num_segments * num_rows - min(missing_rows, num_segments - 1), 6)
    expected = conv(F.leaky_relu(x.t(), 0.1)[None])[0].t() + (y if add else 0)
    source, target = rows_of(x, num_segments), rows_of(y, num_segments)
    source.surround()
    form(conv)(source, target, 0.1, Scratch(), add=add)
    torch.testing.assert_close(signal_of(target), expected, rtol=1e-5, atol=1e-5)


def test_rounding_error_is_near_that_of_the_direct_form() -> None:
    torch.manual_seed(0)
    for kernel_size in (3, 7, 11):
        conv = nn.Conv1d(64, 64, kernel_size, padding=kernel_size // 2)
        x = torch.randn(500, 64)
        with torch.inference_mode():
            exact = conv.double()(x.double().t()[None])[0].t()
            out, source = rows_of(torch.zeros_like(x), 2), rows_of(x, 2)
            source.surround()
            ToomCookConv(conv.float())(source, out, 1.0, Scratch(), add=False)
        assert float((signal_of(out) - exact).std() / exact.std()) < 2e-6


def test_choice_of_form() -> None:
    assert isinstance(row_conv(nn.Conv1d(128, 128, 3)), ToomCookConv)
    assert isinstance(row_conv(nn.Conv1d(32, 32, 3)), DirectConv)
    assert isinstance(row_conv(nn.Conv1d(512, 512, 1)), DirectConv)
