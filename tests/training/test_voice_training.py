"""A voice learns, goes on where it stopped, and is written as the community writes it."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_voice import CONTENT_WIDTH, TINY, write_toy_set

from anivoice.checkpoints.index_file import read_index_file
from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.errors import InvalidModelFile, InvalidParameter
from anivoice.models.flow import Flow
from anivoice.models.vits import Prior, Synthesizer, build_synthesizer
from anivoice.stages.retrieval import Retriever
from anivoice.training.voice_data import SliceSet
from anivoice.training.voice_export import chosen_vectors, write_index
from anivoice.training.voice_network import (
    NO_VARIANCE_LOG_STD,
    MelLatent,
    flow_forward,
    full_config,
    kl_divergence,
    new_synthesizer,
)
from anivoice.training.voice_run import RunFiles, VoiceRun, load_base, new_base
from anivoice.training.voice_trainer import TrainingPlan

CPU = torch.device("cpu")
PLAN = TrainingPlan(num_steps=30, batch_size=2, piece_frames=40, decoded_frames=12, gan_from=1000, warmup_steps=1)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    files = RunFiles(tmp_path / "work", tmp_path / "weights" / "toy.pth")
    write_toy_set(files.cache)
    return files


def run_of(files: RunFiles, plan: TrainingPlan = PLAN, base: Path | None = None) -> VoiceRun:
    return VoiceRun(
        files, new_base(TINY, plan.recipe, plan.seed) if base is None else load_base(base), plan, "my-encoder", CPU
    )


def losses_of(run: VoiceRun, num_steps: int) -> list[float]:
    return [sum(run.trainer.train_step(run.data).values()) for _ in range(num_steps)]


@pytest.mark.parametrize("recipe", ["mel", "vits"])
def test_the_loss_falls(files: RunFiles, recipe: str) -> None:
    plan = replace(PLAN, recipe=recipe, learning_rate=1e-2)  # type: ignore[arg-type]
    losses = losses_of(run_of(files, plan), 30)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])


def test_a_resumed_run_is_the_same_bit_for_bit(files: RunFiles) -> None:
    plan = replace(PLAN, gan_from=2)
    whole = run_of(files, plan)
    expected = losses_of(whole, 5)
    first = run_of(files, plan)
    losses_of(first, 3)
    first.save()
    second = run_of(files, plan)
    assert second.resume()
    assert losses_of(second, 2) == expected[3:]
    for name, tensor in whole.trainer.average.items():
        assert torch.equal(tensor, second.trainer.average[name]), name


def test_a_run_does_not_go_on_with_other_settings(files: RunFiles) -> None:
    run_of(files).save()
    with pytest.raises(InvalidParameter, match="other settings"):
        run_of(files, replace(PLAN, learning_rate=1.0)).resume()


def test_the_first_steps_may_train_the_text_encoder_alone(files: RunFiles) -> None:
    run = run_of(files, replace(PLAN, latent_steps=1))
    before = run.model.dec.conv_pre.weight.detach().clone()
    assert run.trainer.train_step(run.data).keys() == {"latent"}
    assert torch.equal(before, run.model.dec.conv_pre.weight)
    assert run.trainer.train_step(run.data).keys() == {"latent", "stft", "mel", "offset"}
    assert not torch.equal(before, run.model.dec.conv_pre.weight)


def test_the_judges_join_when_it_is_time(files: RunFiles) -> None:
    run = run_of(files, replace(PLAN, gan_from=1))
    assert "deception" not in run.trainer.train_step(run.data)
    assert run.trainer.train_step(run.data).keys() >= {"deception", "features", "judges"}


def test_judges_of_another_run(files: RunFiles) -> None:
    first = run_of(files, replace(PLAN, gan_from=0))
    losses_of(first, 1)
    first.save()
    second = run_of(files, replace(PLAN, seed=1))
    second.take_judges(files.checkpoint)
    for name, tensor in first.trainer.discriminators.state_dict().items():
        assert torch.equal(tensor, second.trainer.discriminators.state_dict()[name])
    with pytest.raises(InvalidModelFile, match="of this width"):
        run_of(files, replace(PLAN, discriminator_width=8)).take_judges(files.checkpoint)


def test_the_written_voice_is_of_the_format(files: RunFiles) -> None:
    run = run_of(files)
    run.train(lambda _: None, None, 10, 10)
    voice, index = run.export(max_index_vectors=1000)
    content = torch.load(voice, weights_only=True)
    assert content["version"] == "v2"
    assert content["sr"] == "32k"
    assert content["f0"] == 1
    assert content["embedder_model"] == "my-encoder"
    assert isinstance(content["info"], str)
    weight, config = content["weight"], content["config"]
    assert len(config) == 18
    assert config[2:10] == [20, 16, 16, 2, 1, 3, 0, "2"]
    assert config[12:15] == [[10, 8, 2, 2], 32, [20, 16, 4, 4]]
    assert config[17] == 32000
    assert all(tensor.dtype == torch.float16 and torch.isfinite(tensor).all() for tensor in weight.values())
    assert not any("enc_q" in name for name in weight)
    shapes = {name: tuple(tensor.shape) for name, tensor in weight.items()}
    assert shapes["enc_p.emb_phone.weight"] == (16, 768)
    assert shapes["dec.ups.1.weight_g"] == (16, 1, 1)
    assert shapes["dec.ups.1.weight_v"] == (16, 8, 16)
    assert shapes["flow.flows.6.enc.in_layers.2.weight_v"] == (32, 16, 5)
    assert shapes["flow.flows.0.enc.cond_layer.weight_g"] == (96, 1, 1)
    assert shapes["dec.noise_convs.0.weight"] == (16, 1, 64)
    assert shapes["dec.resblocks.3.convs.1.bias"] == (2,)
    assert "dec.conv_post.bias" not in shapes
    loaded = load_voice_file(voice)
    assert loaded.config == TINY
    assert loaded.embedder_model == "my-encoder"
    for name, tensor in run.trainer.average.items():
        assert torch.allclose(loaded.state[name], tensor, rtol=4e-3, atol=1e-5), name
    assert read_index_file(index).dim == 768


def test_a_full_size_voice_has_the_tensors_of_the_specification(tmp_path: Path) -> None:
    """457 tensors (SPEC 1.4)."""
    from anivoice.training.voice_export import community_state

    config = replace(full_config(40000), filter_channels=8)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in new_synthesizer_on_meta(config).items()}
    state = community_state(config, {name: torch.zeros(shape) for name, shape in shapes.items()})
    assert len(state) == 457
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def new_synthesizer_on_meta(config: object) -> dict[str, torch.Tensor]:
    from anivoice.models.vits import Synthesizer

    return Synthesizer(config).state_dict()  # type: ignore[arg-type]


def test_training_goes_on_from_a_written_voice(files: RunFiles) -> None:
    first = run_of(files)
    losses_of(first, 20)
    voice, _ = first.export(1000)
    base = load_base(voice)
    assert base.recipe == "mel"
    assert base.embedder_model == "my-encoder"
    assert losses_of(run_of(files, base=voice), 1)[0] < 0.9 * losses_of(run_of(files), 1)[0]


def test_a_base_generator_brings_its_posterior_encoder(files: RunFiles, tmp_path: Path) -> None:
    from anivoice.training.voice_export import community_state

    run = run_of(files, replace(PLAN, recipe="vits"))
    losses_of(run, 1)
    posterior = {f"enc_q.{name}": tensor for name, tensor in run.trainer.posterior.state_dict().items()}
    # A base generator tells its layout by its shapes alone, which know neither dilations nor "2" with one kernel.
    torch.save({"model": {**community_state(TINY, run.model.state_dict()), **posterior}}, tmp_path / "G.pth")
    base = load_base(tmp_path / "G.pth")
    assert base.recipe == "vits"
    assert base.posterior is not None
    assert torch.equal(base.posterior["pre.weight"], posterior["enc_q.pre.weight"])


def test_previews_are_waveforms_and_pictures(files: RunFiles) -> None:
    written = run_of(files).previews()
    assert [path.name for path in written] == ["0-made.wav", "0-real.wav", "0.png"]
    png = written[2].read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (60, 260)
    size = struct.unpack(">I", png[33:37])[0]
    assert png[37:41] == b"IDAT"
    assert len(zlib.decompress(png[41 : 41 + size])) == 260 * (1 + 3 * 60)


def test_batches_depend_on_seed_and_step_alone(files: RunFiles) -> None:
    data = SliceSet(files.cache)
    a, b, c = (data.batch(1, step, 3, 20) for step in (5, 5, 6))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None)
    assert not torch.equal(a.waveform, c.waveform)
    assert a.content is not None
    assert a.content.shape == (3, 20, 768)
    assert a.content[..., :CONTENT_WIDTH].abs().max() > 0
    assert data.batch(1, 1, 2, 80).waveform.shape == (2, 80 * 320)


def test_an_untrained_flow_is_the_identity_and_the_prior_certain() -> None:
    torch.manual_seed(0)
    model = new_synthesizer(TINY, "mel")
    z, g = torch.randn(1, 20, 9), torch.randn(1, 4, 1)
    assert torch.equal(model.flow.reverse(z, None, g), z)
    assert model.flow.shifts_nothing()
    prior = model.prior(torch.randn(1, 9, 768), torch.ones(1, 9, dtype=torch.long))
    assert torch.all(prior.log_std == NO_VARIANCE_LOG_STD)


def test_the_flow_forward_undoes_its_reverse() -> None:
    torch.manual_seed(0)
    flow = Flow(20, 16, 4)
    z, g = torch.randn(2, 20, 30), torch.randn(2, 4, 1)
    assert torch.allclose(flow_forward(flow, flow.reverse(z, None, g), g), z, atol=1e-5)


def test_a_flow_that_shifts_nothing_is_not_computed() -> None:
    torch.manual_seed(0)
    plain = new_synthesizer(TINY, "mel")
    built = build_synthesizer(TINY, plain.state_dict())
    assert built.flow.is_identity
    z, g = torch.randn(1, 20, 9), torch.randn(1, 4, 1)
    assert built.flow.reverse(z, None, g) is z
    assert not build_synthesizer(TINY, new_synthesizer(TINY, "mel").state_dict() | shifted(plain)).flow.is_identity


def shifted(model: Synthesizer) -> dict[str, torch.Tensor]:
    name = "flow.flows.4.post.bias"
    return {name: model.state_dict()[name] + 0.1}


def test_the_divergence_of_two_normal_distributions() -> None:
    """Its mean over draws of the posterior is the divergence that the formula for two normal distributions gives."""
    torch.manual_seed(0)
    prior = Prior(torch.zeros(1, 1, 200000), torch.full((1, 1, 200000), 0.3), None)
    log_std = torch.full((1, 1, 200000), -0.2)
    z = 0.5 + torch.exp(log_std) * torch.randn(1, 1, 200000)
    true = 0.3 + 0.2 - 0.5 + (np.exp(-0.4) + 0.25) / (2 * np.exp(0.6))
    assert float(kl_divergence(z, log_std, prior)) == pytest.approx(true, abs=0.01)


def test_the_latent_frames_stand_where_they_are_decoded() -> None:
    waveform = torch.zeros(1, 320 * 30)
    waveform[0, 320 * 10 + 160] = 1.0
    level = MelLatent(TINY)(waveform)[0].mean(0)
    assert level.shape == (30,)
    assert int(level.argmax()) == 10
    assert float(level[9]) == pytest.approx(float(level[11]), abs=1e-3)


def test_the_index_gives_back_what_was_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((900, 768)).astype(np.float16)
    write_index(tmp_path / "a.index", chosen_vectors(features, 1000))
    index = read_index_file(tmp_path / "a.index")
    assert index.num_probes == 1
    assert len(index.centroids) == 900 // 39
    assert np.array_equal(index.vectors, features.astype(np.float32))
    query = torch.from_numpy(index.vectors[:5])
    assert torch.allclose(Retriever(index, CPU).blend(query, 1.0), query)
    assert chosen_vectors(features, 100).shape == (100, 768)
