"""Networks as a CPU computes short windows fastest: the same results, in whatever precision the processor has."""

import pytest
import torch
from processor import needs_bf16_products
from torch import nn

from anivoice.models.cpu import packed_layers as short_windows
from anivoice.models.cpu.packed_layers import DepthwiseTaps, LaidOutConv, can_lay_out, fastest_dtype, for_short_windows


def small_network() -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    inner = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 40), nn.SiLU())
    network = nn.Sequential(inner, nn.Linear(40, 8, bias=False))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


def sound(num_frames: int) -> torch.Tensor:
    return torch.randn(1, num_frames, 24, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("num_frames", [1, 12, 26, 300])
def test_the_copy_computes_the_same(num_frames: int) -> None:
    network = small_network()
    x = sound(num_frames)
    torch.testing.assert_close(for_short_windows(network)(x), network(x), rtol=1e-4, atol=1e-4)


def test_a_part_of_a_longer_tensor_will_do() -> None:
    network, x = small_network(), sound(50)
    torch.testing.assert_close(for_short_windows(network)(x[:, 7:19]), network(x[:, 7:19]), rtol=1e-4, atol=1e-4)


@needs_bf16_products
def test_bfloat16_is_near() -> None:
    network, x = small_network(), sound(12)
    made = for_short_windows(network, torch.bfloat16)(x.bfloat16()).float()
    expected = network(x)
    assert (made - expected).square().mean() < 1e-3 * expected.square().mean()


@needs_bf16_products
def test_the_network_itself_stays_what_it_is() -> None:
    network = small_network()
    for_short_windows(network, torch.bfloat16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert sum(isinstance(module, nn.Linear) for module in network.modules()) == 2


def test_linear_layers_are_laid_out_where_that_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    def num_linear() -> int:
        return sum(isinstance(module, nn.Linear) for module in for_short_windows(small_network()).modules())

    assert num_linear() == (0 if can_lay_out() else 2)
    monkeypatch.setattr(short_windows, "can_lay_out", lambda: False)
    assert num_linear() == 2
    torch.testing.assert_close(for_short_windows(small_network())(sound(5)), small_network()(sound(5)))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"avx2": True, "avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_bfloat16_only_where_the_processor_multiplies_it(
    capabilities: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fastest_dtype.__wrapped__() == expected


def test_old_torch_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert fastest_dtype.__wrapped__() == torch.float32


def over_time(*convs: nn.Conv1d) -> nn.Sequential:
    network = nn.Sequential(*convs)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(4))
    return network


CONVOLUTIONS = [
    (nn.Conv1d(24, 24, 5, groups=24), DepthwiseTaps),
    (nn.Conv1d(24, 24, 3, groups=24, bias=False), DepthwiseTaps),
    (nn.Conv1d(24, 10, 3), LaidOutConv),
    (nn.Conv1d(24, 10, 1, bias=False), LaidOutConv),
    (nn.Conv1d(24, 10, 3, padding=1), nn.Conv1d),
    (nn.Conv1d(24, 10, 3, stride=2), nn.Conv1d),
    (nn.Conv1d(24, 24, 3, dilation=2, groups=24), nn.Conv1d),
    (nn.Conv1d(24, 24, 3, groups=12), nn.Conv1d),
]


@pytest.mark.parametrize("num_frames", [5, 12, 90])
@pytest.mark.parametrize(("conv", "faster"), CONVOLUTIONS)
def test_convolutions_have_a_faster_form(conv: nn.Conv1d, faster: type[nn.Module], num_frames: int) -> None:
    network = over_time(conv)
    made = for_short_windows(network)
    if faster is not LaidOutConv or can_lay_out():
        assert type(made[0]) is faster
    x = sound(num_frames).transpose(1, 2)
    torch.testing.assert_close(made(x), network(x), rtol=1e-4, atol=1e-4)


@needs_bf16_products
@pytest.mark.parametrize("num_frames", [5, 12, 90])
@pytest.mark.parametrize("conv", [conv for conv, _ in CONVOLUTIONS])
def test_convolutions_have_a_form_of_half_the_bytes(conv: nn.Conv1d, num_frames: int) -> None:
    network, x = over_time(conv), sound(num_frames).transpose(1, 2)
    halved = for_short_windows(network, torch.bfloat16)(x.bfloat16())
    assert halved.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), network(x), rtol=0.05, atol=0.1)
