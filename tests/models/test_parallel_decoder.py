"""Parts of the time axis on several threads give the waveform of the whole."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anivoice.models.cpu_decoder import CpuDecoder
from anivoice.models.nsf_hifigan import NsfHifiGan
from anivoice.models.parallel_decoder import DecoderThreads, ParallelDecoder, plan_parts
from anivoice.models.voice_config import VoiceConfig


@pytest.fixture(scope="module")
def threads() -> Iterator[DecoderThreads]:
    with DecoderThreads(3) as threads:
        yield threads


@given(num_frames=st.integers(1, 500), num_parts=st.integers(1, 9), halo=st.integers(1, 20))
def test_parts_cover_all_frames_once(num_frames: int, num_parts: int, halo: int) -> None:
    parts = plan_parts(num_frames, num_parts, halo)
    assert 1 <= len(parts) <= num_parts
    assert [frame for part in parts for frame in range(part.start, part.stop)] == list(range(num_frames))
    for part in parts:
        assert part.first == max(part.start - halo, 0)
        assert part.last == min(part.stop + halo, num_frames)
        assert len(parts) == 1 or part.stop - part.start >= 4 * halo


@pytest.mark.parametrize("has_f0", [True, False])
@pytest.mark.parametrize("num_frames", [1, 60, 200, 241])
def test_the_waveform_is_that_of_the_whole(threads: DecoderThreads, has_f0: bool, num_frames: int) -> None:
    config = VoiceConfig(
        "v2", has_f0, 6, 8, 8, 2, 1, 3, "1", (3, 7), ((1, 3), (1, 3)), (10, 4, 2), 16, (20, 8, 4), 1, 5, 8000
    )
    torch.manual_seed(0)
    decoder = NsfHifiGan(config).eval().requires_grad_(False)
    z, g = torch.randn(2, 6, num_frames), torch.randn(2, 5, 1)
    source = torch.randn(2, 1, num_frames * config.frame_samples) if has_f0 else None
    parallel = ParallelDecoder(CpuDecoder(decoder), config.decoder_receptive_frames, threads)
    with torch.inference_mode():
        got = torch.cat(list(parallel.decode_tiles(z, g, source)), dim=1)
        expected = decoder(z, g, source)
    assert num_frames < 200 or len(plan_parts(num_frames, 3, config.decoder_receptive_frames)) > 1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert parallel.num_bytes > 0
