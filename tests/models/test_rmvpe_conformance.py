"""RMVPE against rmvpe/rmvpe (SPEC 5), with the small network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import stated
from torch import Tensor

from anivoice.checkpoints.safe_pickle import float_state, load_torch_file
from anivoice.models.rmvpe import Rmvpe, build_rmvpe
from anivoice.models.salience import cents_to_hz, decode_cents


@pytest.fixture(scope="module")
def side(conformance_dir: Path) -> dict[str, Any]:
    return json.loads((conformance_dir / "rmvpe" / "rmvpe.json").read_text())


@pytest.fixture(scope="module")
def arrays(conformance_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(conformance_dir / "rmvpe" / "rmvpe.npz"))


@pytest.fixture(scope="module")
def network(rmvpe_tiny_path: Path) -> Rmvpe:
    return build_rmvpe(float_state(load_torch_file(rmvpe_tiny_path), rmvpe_tiny_path))


@pytest.fixture(scope="module")
def cases(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Case name -> samples [1, n]."""
    return {
        name.removesuffix("/wav"): torch.from_numpy(wav.astype(np.float32) / 32768)[None]
        for name, wav in arrays.items()
        if name.endswith("/wav")
    }


def test_hyper_parameters_come_from_the_shapes(network: Rmvpe, side: dict[str, Any]) -> None:
    stated = side["network"]
    config = network.config
    assert (config.num_blocks, config.num_gru_layers) == (stated["n_blocks"], stated["n_gru"])
    assert (config.num_levels, config.num_intermediate) == (stated["en_de_layers"], stated["inter_layers"])
    assert config.first_channels == stated["en_out_channels"]


def test_log_mel(network: Rmvpe, side: dict[str, Any], arrays: dict[str, np.ndarray], cases: dict[str, Tensor]) -> None:
    assert cases
    for case, samples in cases.items():
        mel = network.log_mel(samples)[0].numpy()
        np.testing.assert_allclose(mel, arrays[f"{case}/mel"], **side["tolerance"]["mel"])


def test_salience_and_f0(
    network: Rmvpe, side: dict[str, Any], arrays: dict[str, np.ndarray], cases: dict[str, Tensor]
) -> None:
    for case, samples in cases.items():
        salience = network(samples)
        expected = arrays[f"{case}/hidden"]
        meaning = side["expected"][f"{case}/hidden"]["meaning"]
        atol = stated(meaning, "atol ") if "atol" in meaning else side["tolerance"]["hidden"]["atol"]
        np.testing.assert_allclose(salience[0].numpy(), expected.astype(np.float32), atol=atol, rtol=0)
        f0 = network.decode(salience)[0].numpy()
        np.testing.assert_array_equal(f0 > 0, arrays[f"{case}/f0"] > 0)
        np.testing.assert_allclose(f0, arrays[f"{case}/f0"], rtol=side["tolerance"]["f0"]["rtol"])


def test_decoding(network: Rmvpe, side: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    rtol = side["tolerance"]["f0"]["rtol"]
    salience = torch.from_numpy(arrays["decode/salience"])
    meanings = [entry["meaning"] for name, entry in side["expected"].items() if name.endswith("/f0")]
    threshold = stated(next(text for text in meanings if "threshold" in text), "threshold ")
    cents = decode_cents(salience, network.bins_cents, threshold)
    np.testing.assert_allclose(cents.numpy(), arrays["decode/cents"], rtol=rtol)
    np.testing.assert_allclose(network.decode(salience).numpy(), arrays["decode/f0"], rtol=rtol)
    assert torch.equal(network.decode(salience), cents_to_hz(cents))
