"""What the prior of a live window hears."""

import pytest
import torch
from conformance import OWN_VECTORS

from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.frames import WindowLayout
from anivoice.models.prior_memory import PriorMemory
from anivoice.models.vits import build_synthesizer
from anivoice.stages.synthesizer import VoiceSynthesizer
from anivoice.stages.window import PriorWindow, SynthesisInput, WindowSynthesis

LAYOUT = WindowLayout(block_frames=8, context_frames=180, crossfade_frames=8, lookahead_frames=4)


def made(prior_context_frames: int | None, num_changed: int, remembers: bool = False) -> torch.Tensor:
    file = load_voice_file(OWN_VECTORS / "synth" / "v2_f0_48k.pth")
    model = build_synthesizer(file.config, file.state)
    context = prior_context_frames
    synthesizer = VoiceSynthesizer(model, torch.device("cpu"), torch.float32, prior_context_frames=context)
    synthesis = WindowSynthesis(synthesizer, LAYOUT, 0.0)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, LAYOUT.window_frames, 768, generator=generator)
    features[:, :num_changed] += 1.0
    num_noise = (synthesis.stop - synthesis.start) * synthesis.S
    x = SynthesisInput(
        features,
        torch.full((1, LAYOUT.window_frames), 180.0),
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, file.config.inter_channels, LAYOUT.window_frames - synthesis.flow_start),
        torch.zeros(1, num_noise),
        torch.zeros(1, dtype=torch.long),
    )
    with torch.inference_mode():
        if not remembers:
            return synthesis(x)
        prior = synthesis.stream_prior(x, [PriorWindow(PriorMemory(), first_frame=1000)])
        return synthesis.decode(synthesis.latent(prior, x), x)


@pytest.mark.parametrize(("prior_context_frames", "num_heard"), [(None, 0), (20, 0), (20, 140)])
def test_the_prior_hears_its_context_and_nothing_before(prior_context_frames: int | None, num_heard: int) -> None:
    plain, changed = made(prior_context_frames, 0), made(prior_context_frames, 20 + num_heard)
    assert plain.abs().max() > 0
    assert torch.equal(plain, changed) == (prior_context_frames is not None and num_heard == 0)


def test_a_memory_that_knows_nothing_hears_the_same_context() -> None:
    assert torch.allclose(made(20, 0, remembers=True), made(20, 0), atol=1e-5)
