from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from anivoice.errors import InvalidModelFile
from anivoice.models.mel import mel_filterbank
from anivoice.models.rmvpe import Rmvpe, build_rmvpe, load_rmvpe
from anivoice.models.rmvpe_unet import RmvpeConfig
from anivoice.models.salience import cents_to_hz, decode_cents

BINS_CENTS = torch.arange(20) * 20.0 + 2000.0


@pytest.fixture(scope="module")
def state(rmvpe_tiny_path: Path) -> dict[str, Tensor]:
    return torch.load(rmvpe_tiny_path, weights_only=True)


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> Rmvpe:
    return build_rmvpe(state)


def test_default_config_is_the_real_network() -> None:
    expected = Rmvpe(RmvpeConfig()).state_dict()
    assert len(expected) == 741
    assert round(sum(tensor.numel() for name, tensor in expected.items()) / 1e6, 2) == 90.47
    assert expected["fc.1.weight"].shape == (360, 512)


def test_folding_the_norms_changes_nothing(state: dict[str, Tensor], network: Rmvpe) -> None:
    samples = 0.1 * torch.randn(2, 6400, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(samples), load_rmvpe(state)(samples), atol=2e-5, rtol=0)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.unet.intermediate.modules())


@pytest.mark.parametrize("num_samples", [0, 1, 159, 512, 513, 5120, 5121])
def test_any_length(network: Rmvpe, num_samples: int) -> None:
    salience = network(torch.zeros(2, num_samples))
    assert salience.shape == (2, num_samples // 160 + 1, 360)
    assert salience.isfinite().all()


def test_frames_come_in_multiples_of_32_whatever_the_number_of_levels() -> None:
    """What a network of four levels sees behind 17 frames is 15 of the log domain's zeros, as in the reference."""
    shallow = Rmvpe(RmvpeConfig(num_blocks=1, num_levels=4, num_intermediate=1, first_channels=2, gru_channels=4))
    generator = torch.Generator().manual_seed(4)
    state = {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in shallow.state_dict().items()}
    network = load_rmvpe({name: value.abs() if name.endswith("_var") else value for name, value in state.items()})
    log_mel = torch.randn(1, 128, 17, generator=generator)
    whole = network.salience(torch.nn.functional.pad(log_mel, (0, 15)))
    torch.testing.assert_close(network.salience(log_mel), whole[:, :17], atol=0, rtol=0)
    assert not torch.equal(network.salience(torch.nn.functional.pad(log_mel, (0, 16)))[:, :17], whole[:, :17])


def test_rows_of_a_batch_are_independent(network: Rmvpe) -> None:
    samples = 0.1 * torch.randn(3, 4000, generator=torch.Generator().manual_seed(2))
    together = network(samples)
    for row, salience in zip(samples, together, strict=True):
        torch.testing.assert_close(network(row[None])[0], salience, atol=2e-5, rtol=0)


def test_short_input_is_continued_with_silence(network: Rmvpe) -> None:
    samples = 0.1 * torch.randn(1, 400, generator=torch.Generator().manual_seed(3))
    longer = torch.nn.functional.pad(samples, (0, 113))
    torch.testing.assert_close(network.log_mel(samples), network.log_mel(longer)[:, :, :3])


def test_half_precision_keeps_mel_and_decoding(state: dict[str, Tensor], network: Rmvpe) -> None:
    half = build_rmvpe(state)
    half.set_network_dtype(torch.float16)
    samples = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(4))
    assert half.log_mel(samples).dtype == torch.float32
    salience = half(samples)
    assert salience.dtype == torch.float32
    torch.testing.assert_close(salience, network(samples), atol=5e-3, rtol=0)


def test_missing_tensor_is_named(state: dict[str, Tensor]) -> None:
    damaged = {name: tensor for name, tensor in state.items() if name != "fc.1.bias"}
    with pytest.raises(InvalidModelFile, match=r"fc\.1\.bias"):
        build_rmvpe(damaged)


def test_mis_shaped_tensor_is_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(InvalidModelFile, match=r"cnn\.bias.*\[4\].*\[3\]"):
        build_rmvpe(state | {"cnn.bias": torch.zeros(4)})


def test_values_that_are_no_numbers_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(InvalidModelFile, match="not finite"):
        build_rmvpe(state | {"cnn.bias": torch.full((3,), torch.nan)})


def test_a_foreign_state_dict_is_refused() -> None:
    for foreign in ({}, {"emb_g.weight": torch.zeros(1)}, {"cnn.weight": torch.zeros(())}):
        with pytest.raises(InvalidModelFile, match="not an RMVPE network"):
            build_rmvpe(foreign)


def test_a_huge_claim_costs_no_memory(state: dict[str, Tensor]) -> None:
    claim = torch.zeros(1, 1, 1, 1).expand(2**20, 1, 3, 3)
    with pytest.raises(InvalidModelFile):
        build_rmvpe(state | {"unet.encoder.layers.0.conv.0.conv.0.weight": claim})


def test_counters_of_the_norms_may_be_missing(state: dict[str, Tensor]) -> None:
    build_rmvpe({name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")})


def test_ties_take_the_first_bin_and_edges_do_not_count() -> None:
    salience = torch.zeros(3, 20)
    salience[0, [5, 15]] = 0.5
    salience[1, 0] = 0.5
    salience[2, 19] = 0.5
    cents = decode_cents(salience, BINS_CENTS, threshold=0.03)
    torch.testing.assert_close(cents, torch.tensor([2100.0, 2000.0, 2380.0]))


def test_a_repeated_edge_pulls_the_mean_towards_it() -> None:
    salience = torch.zeros(1, 20)
    salience[0, 0], salience[0, 1] = 0.5, 0.25
    plain = decode_cents(salience, BINS_CENTS, threshold=0.03)
    repeated = decode_cents(salience, BINS_CENTS, threshold=0.03, repeat_edges=True)
    torch.testing.assert_close(plain, torch.tensor([2000.0 + 20 * 0.25 / 0.75]))
    torch.testing.assert_close(repeated, torch.tensor([2000.0 + 20 * 0.25 / 2.75]))


def test_weak_empty_or_broken_frames_are_unvoiced() -> None:
    salience = torch.zeros(3, 20)
    salience[0, 3] = 0.03
    salience[2, 3] = torch.nan
    assert cents_to_hz(decode_cents(salience, BINS_CENTS, threshold=0.03)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("min_hz", "htk"), [(30.0, True), (0.0, False)])
def test_mel_filters_equal_librosa(min_hz: float, htk: bool) -> None:
    librosa_filters = pytest.importorskip("librosa").filters
    expected = librosa_filters.mel(sr=16000, n_fft=1024, n_mels=128, fmin=min_hz, fmax=8000.0, htk=htk)
    np.testing.assert_allclose(mel_filterbank(128, 1024, min_hz, 8000.0, htk).numpy(), expected, atol=1e-7)
