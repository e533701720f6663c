"""The tiled decoder gives the waveform of the plain one."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from anivoice.errors import Cancelled
from anivoice.models.cpu import toom_cook as fast_conv
from anivoice.models.cpu.decoder import CpuDecoder, Decoder, Tuning, part_bounds
from anivoice.models.cpu.threads import WorkThreads
from anivoice.models.nsf_hifigan import MrfHifiGan, NsfHifiGan
from anivoice.models.pauses import pausing
from anivoice.models.voice_config import VoiceConfig

SMALL_TILES = Tuning(segment_rows=70, segments_width=32, min_direct_products=40)


@pytest.fixture(scope="module")
def threads() -> Iterator[WorkThreads]:
    with WorkThreads(3) as threads:
        yield threads


def config_of(rates: tuple[int, ...], kernels: tuple[int, ...], *, has_f0: bool, resblock: str) -> VoiceConfig:
    return VoiceConfig(
        version="v2",
        has_f0=has_f0,
        inter_channels=6,
        hidden_channels=8,
        filter_channels=8,
        num_heads=2,
        num_layers=1,
        kernel_size=3,
        resblock="1" if resblock == "1" else "2",
        resblock_kernel_sizes=kernels,
        resblock_dilation_sizes=tuple((1, 3, 5) if resblock == "1" else (1, 3) for _ in kernels),
        upsample_rates=rates,
        upsample_initial_channel=2 ** (len(rates) + 2),
        upsample_kernel_sizes=tuple(2 * rate for rate in rates),
        num_speakers=1,
        gin_channels=5,
        sample_rate_hz=100 * math.prod(rates),
    )


def decoder_of(config: VoiceConfig, seed: int, *, mrf: bool = False) -> Decoder:
    """Random weights that keep the level of the signal through all layers."""
    torch.manual_seed(seed)
    decoder = MrfHifiGan(config) if mrf else NsfHifiGan(config)
    for module in decoder.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            fan_in = module.weight[0].numel() if isinstance(module, nn.Conv1d) else 2 * module.in_channels
            nn.init.normal_(module.weight, std=0.7 / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
    return decoder.eval()


def inputs_of(config: VoiceConfig, batch: int, num_frames: int) -> tuple[Tensor, Tensor, Tensor | None]:
    source = torch.randn(batch, 1, num_frames * config.frame_samples) if config.has_f0 else None
    return torch.randn(batch, config.inter_channels, num_frames), torch.randn(batch, config.gin_channels, 1), source


@settings(max_examples=40, deadline=None)
@given(
    rates=st.lists(st.sampled_from([2, 3, 4, 5, 10]), min_size=2, max_size=5).filter(lambda r: math.prod(r) <= 120),
    kernels=st.lists(st.sampled_from([3, 5, 7, 11]), min_size=1, max_size=3),
    has_f0=st.booleans(),
    resblock=st.sampled_from(["1", "2"]),
    mrf=st.booleans(),
    batch=st.integers(1, 2),
    num_frames=st.integers(1, 40),
    small_tiles=st.booleans(),
    seed=st.integers(0, 1000),
)
@torch.inference_mode()
def test_equals_the_plain_decoder(
    rates: list[int],
    kernels: list[int],
    has_f0: bool,
    resblock: str,
    mrf: bool,
    batch: int,
    num_frames: int,
    small_tiles: bool,
    seed: int,
) -> None:
    config = config_of(tuple(rates), tuple(kernels), has_f0=has_f0 or mrf, resblock=resblock)
    decoder = decoder_of(config, seed, mrf=mrf)
    inputs = inputs_of(config, batch, num_frames)
    expected = decoder(*inputs)
    waveform = CpuDecoder(decoder, SMALL_TILES if small_tiles else None)(*inputs)
    assert waveform.shape == expected.shape == (batch, num_frames * config.frame_samples)
    torch.testing.assert_close(waveform, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("segment_rows", [70, 120, 180])
@torch.inference_mode()
def test_a_tile_is_not_overwritten_by_the_next_one(segment_rows: int) -> None:
    config = config_of((2, 2, 2), (7,), has_f0=False, resblock="1")
    decoder = decoder_of(config, 0)
    inputs = inputs_of(config, 1, 33)
    one_segment = Tuning(segment_rows=segment_rows, segments_width=1, min_direct_products=40)
    torch.testing.assert_close(CpuDecoder(decoder, one_segment)(*inputs), decoder(*inputs), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_long_signal_has_many_points() -> None:
    config = config_of((10, 4), (3, 7, 11), has_f0=True, resblock="1")
    decoder = decoder_of(config, 3)
    inputs = inputs_of(config, 2, 500)
    points: list[None] = []
    with pausing(lambda: points.append(None)):
        waveform = CpuDecoder(decoder, SMALL_TILES)(*inputs)
    assert len(points) > 50
    torch.testing.assert_close(waveform, decoder(*inputs), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_at_a_point_another_signal_may_be_decoded_or_the_work_ended() -> None:
    config = config_of((10, 4), (3, 7), has_f0=True, resblock="1")
    decoder = decoder_of(config, 4)
    fast = CpuDecoder(decoder, SMALL_TILES)
    inputs, others = inputs_of(config, 1, 300), inputs_of(config, 1, 200)
    made: list[Tensor] = []

    def decode_others() -> None:
        if len(made) < 3:
            with pausing(None):
                made.append(fast(*others))

    def end() -> None:
        raise Cancelled("the caller went away")

    with pausing(decode_others):
        waveform = fast(*inputs)
    with pausing(end), pytest.raises(Cancelled):
        fast(*inputs)
    torch.testing.assert_close(waveform, decoder(*inputs), rtol=0, atol=1e-5)
    for other in made:
        torch.testing.assert_close(other, decoder(*others), rtol=0, atol=1e-5)
    torch.testing.assert_close(fast(*inputs), decoder(*inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize("has_small_tiles", [True, False])
@torch.inference_mode()
def test_a_signal_is_transformed_piece_by_piece(
    resblock: str, has_small_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long ones are. A block of single convolutions changes the signal that the next piece looks back at."""
    monkeypatch.setattr(fast_conv, "MIN_CHUNK_ELEMENTS", 500)
    monkeypatch.setattr(fast_conv, "MIN_CHUNK_SAMPLES", 1)
    config = config_of((10, 4), (3, 7), has_f0=True, resblock=resblock)
    decoder = decoder_of(config, 3)
    tuning = SMALL_TILES if has_small_tiles else Tuning(min_direct_products=40)
    made = CpuDecoder(decoder, tuning)
    z, g, source = inputs_of(config, 1, 60)
    torch.testing.assert_close(made(z, g, source), decoder(z, g, source), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_frames", [1, 2, 7, 300])
@torch.inference_mode()
def test_the_usual_tuning_on_the_usual_kernels(num_frames: int) -> None:
    config = config_of((12, 10, 2, 2), (3, 7, 11), has_f0=True, resblock="1")
    decoder = decoder_of(config, 5)
    inputs = inputs_of(config, 1, num_frames)
    torch.testing.assert_close(
        CpuDecoder(decoder, Tuning(min_direct_products=0))(*inputs), decoder(*inputs), rtol=0, atol=1e-5
    )


@given(lo=st.integers(0, 500), length=st.integers(1, 3000), num_parts=st.integers(1, 5), halo=st.integers(0, 90))
def test_parts_are_of_about_the_same_length_and_not_too_short(lo: int, length: int, num_parts: int, halo: int) -> None:
    bounds = part_bounds(lo, lo + length, num_parts, halo)
    assert (bounds[0], bounds[-1]) == (lo, lo + length)
    lengths = [stop - start for start, stop in pairwise(bounds)]
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == 1 or (len(lengths) <= num_parts and min(lengths) >= 2 * halo)


@pytest.mark.parametrize("small_tiles", [True, False])
@pytest.mark.parametrize("num_frames", [1, 12, 51, 333])
@torch.inference_mode()
def test_several_threads_give_the_same_waveform(threads: WorkThreads, num_frames: int, small_tiles: bool) -> None:
    config = config_of((10, 4, 2), (3, 7, 11), has_f0=True, resblock="1")
    decoder = decoder_of(config, 6)
    inputs = inputs_of(config, 2, num_frames)
    waveform = CpuDecoder(decoder, SMALL_TILES if small_tiles else None, threads)(*inputs)
    torch.testing.assert_close(waveform, decoder(*inputs), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_what_is_not_shared_needs_no_other_thread() -> None:
    threads = WorkThreads(2)
    threads.shutdown()
    config = config_of((10, 4), (3, 7), has_f0=True, resblock="2")
    decoder = decoder_of(config, 8)
    inputs = inputs_of(config, 1, 300)
    cpu_decoder = CpuDecoder(decoder, SMALL_TILES, threads)
    alone = cpu_decoder(*inputs, shared=False)
    torch.testing.assert_close(alone, decoder(*inputs), rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError, match="shutdown"):
        cpu_decoder(*inputs)
