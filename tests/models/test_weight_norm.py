"""Folding weight norm equals torch's own weight norm."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from anivoice.errors import InvalidModelFile
from anivoice.models.weight_norm import fold_weight_norm


def _spelled(state: dict[str, torch.Tensor], *, new: bool) -> dict[str, torch.Tensor]:
    if new:
        return state
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, tensor in state.items():
        module, _, leaf = name.partition(".")
        renamed[f"{module}.{old.get(leaf, leaf)}"] = tensor
    return renamed


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize(
    ("module", "dim"),
    [(nn.Conv1d(4, 6, 3), 0), (nn.ConvTranspose1d(4, 6, 5), 0), (nn.Conv1d(8, 8, 16, groups=2), 2),
     (nn.Conv1d(3, 1, 7), 0)],
)  # fmt: skip
def test_folded_weights_equal_torchs(module: nn.Module, dim: int, new: bool):
    plain = nn.Sequential()
    plain.add_module("m", module)
    normed = weight_norm(module, dim=dim)
    with torch.no_grad():
        normed.parametrizations.weight.original0.mul_(1.7)
    try:
        state = {name: tensor.detach() for name, tensor in plain.state_dict().items()}
        folded = fold_weight_norm(_spelled(state, new=new), "file", norm_dim=dim)
        assert folded.keys() == {"m.weight", "m.bias"}
        torch.testing.assert_close(folded["m.weight"], normed.weight.detach())
        assert torch.equal(folded["m.bias"], state["m.bias"])
    finally:
        nn.utils.parametrize.remove_parametrizations(module, "weight")


def test_half_precision_is_widened_before_the_norm():
    v = torch.full((1, 64, 9), 200.0, dtype=torch.float16)  # its norm overflows in float16 sums of squares
    folded = fold_weight_norm({"a.weight_v": v, "a.weight_g": torch.ones(1, 1, 1, dtype=torch.float16)}, "file")
    assert folded["a.weight"].dtype == torch.float32
    assert folded["a.weight"].norm().item() == pytest.approx(1.0, abs=1e-5)


def test_plain_weights_pass():
    folded = fold_weight_norm({"a.weight": torch.ones(2, 2, dtype=torch.float16)}, "file")
    assert torch.equal(folded["a.weight"], torch.ones(2, 2))


@pytest.mark.parametrize(
    "state",
    [
        {"a.weight_g": torch.ones(2, 1, 1)},
        {"a.weight_v": torch.ones(2, 3, 1)},
        {"a.weight_v": torch.ones(2, 3, 1), "a.weight_g": torch.ones(3, 1, 1)},
        {"a.weight_v": torch.ones(2, 3, 1), "a.weight_g": torch.ones(2)},
        {"a.weight_v": torch.tensor(1.0), "a.weight_g": torch.tensor(1.0)},
        {"a.parametrizations.weight.original0": torch.ones(2, 1, 1)},
    ],
)
def test_halves_and_wrong_shapes_are_refused(state: dict[str, torch.Tensor]):
    with pytest.raises(InvalidModelFile, match="file"):
        fold_weight_norm(state, "file")
