from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anivoice.errors import InvalidModelFile
from anivoice.models.fcpe import Fcpe, build_fcpe


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    spec = find_spec("torchfcpe")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / "assets" / "fcpe_c_v001.pt"
    model: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)["model"]
    return model


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> Fcpe:
    return build_fcpe(state)


@pytest.mark.parametrize("num_samples", [0, 1, 432, 433, 592, 1600])
def test_any_length(network: Fcpe, num_samples: int) -> None:
    salience = network(torch.zeros(2, num_samples))
    assert salience.shape == (2, num_samples // 160 + 1, 360)
    assert salience.isfinite().all()


def test_newer_weight_norm_names_are_understood(state: dict[str, Tensor], network: Fcpe) -> None:
    renamed = {
        name.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        ): tensor
        for name, tensor in state.items()
    }
    samples = 0.1 * torch.randn(1, 1600, generator=torch.Generator().manual_seed(1))
    assert torch.equal(build_fcpe(renamed)(samples), network(samples))


def test_foreign_or_damaged_files_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(InvalidModelFile, match="not an FCPE network"):
        build_fcpe({})
    with pytest.raises(InvalidModelFile, match="not an FCPE network"):
        build_fcpe(state | {"net.encoder_layers.0.attn.to_q.weight": torch.zeros(1)})
    with pytest.raises(InvalidModelFile, match=r"norm_out\.bias"):
        build_fcpe({name: tensor for name, tensor in state.items() if name != "norm.bias"})
