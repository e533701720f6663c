"""The U-net of RMVPE (SPEC 5.2), with the parameter names of `rmvpe.pt`, and the folding of its BatchNorms."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from anivoice.models.pauses import point


@dataclass(frozen=True)
class RmvpeConfig:
    """Hyper-parameters, all readable from the keys and shapes of a state dict. The defaults are the real ones."""

    num_blocks: int = 4
    num_levels: int = 5
    num_intermediate: int = 4
    num_gru_layers: int = 1
    first_channels: int = 16
    cnn_channels: int = 3
    gru_channels: int = 256

    @property
    def frame_multiple(self) -> int:
        """Frames and mel bands that the network can halve once per level come in multiples of this."""
        return int(2**self.num_levels)


class ConvBlockRes(nn.Module):
    """Two 3x3 convolutions with a residual path. `[B, in, T, M]` -> `[B, out, T, M]`.

    There is a point after each: not even a layer of a long recording is quick.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv[:3](x)
        point()
        y = self.conv[3:](y)
        y.add_(self.shortcut(x))
        point()
        return y


class BlockChain(nn.Module):
    """`num_blocks` residual blocks; the first one changes the number of channels. Name of the list: `conv`."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * num_blocks
        self.conv = nn.ModuleList(ConvBlockRes(widths[i], widths[i + 1]) for i in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        return _in_turn(self.conv, x)


class Encoder(nn.Module):
    """Levels of blocks, each followed by 2x2 average pooling. Returns the bottom and the skips, top first."""

    def __init__(self, config: RmvpeConfig) -> None:
        super().__init__()
        widths = [1] + [config.first_channels * 2**i for i in range(config.num_levels)]
        self.bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(BlockChain(a, b, config.num_blocks) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.bn(x)
        skips = []
        for layer in self.layers:
            skips.append(layer(x))
            x = F.avg_pool2d(skips[-1], 2)
        return x, skips


class Intermediate(nn.Module):
    def __init__(self, config: RmvpeConfig) -> None:
        super().__init__()
        bottom = config.first_channels * 2**config.num_levels
        widths = [bottom // 2] + [bottom] * config.num_intermediate
        self.layers = nn.ModuleList(BlockChain(a, b, config.num_blocks) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        return _in_turn(self.layers, x)


class DecoderLevel(nn.Module):
    """Doubles time and mel, halves the channels, joins the skip of the same size, then blocks."""

    def __init__(self, in_channels: int, num_blocks: int) -> None:
        super().__init__()
        out_channels = in_channels // 2
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
        widths = [2 * out_channels] + [out_channels] * num_blocks
        self.conv2 = nn.ModuleList(ConvBlockRes(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = torch.cat((self.conv1(x), skip), dim=1)
        point()
        return _in_turn(self.conv2, x)


class Decoder(nn.Module):
    def __init__(self, config: RmvpeConfig) -> None:
        super().__init__()
        widths = [config.first_channels * 2**i for i in range(config.num_levels, 0, -1)]
        self.layers = nn.ModuleList(DecoderLevel(width, config.num_blocks) for width in widths)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        for layer, skip in zip(self.layers, reversed(skips), strict=True):
            x = layer(x, skip)
        return x


class UNet(nn.Module):
    def __init__(self, config: RmvpeConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.intermediate = Intermediate(config)
        self.decoder = Decoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 1, T, M]` -> `[B, first_channels, T, M]`."""
        x, skips = self.encoder(x)
        y: Tensor = self.decoder(self.intermediate(x), skips)
        return y


def _in_turn(modules: nn.ModuleList, x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def fold_norms(model: nn.Module) -> None:
    """Replaces every convolution and its BatchNorm by one convolution with a bias. The model must be in eval mode.

    `unet.encoder.bn` stays: it stands before a zero-padded convolution, so folding it would change the edges.
    """
    for module in list(model.modules()):
        if isinstance(module, ConvBlockRes):
            _fold_norm(module.conv, 0)
            _fold_norm(module.conv, 3)
        elif isinstance(module, DecoderLevel):
            _fold_norm(module.conv1, 0, transpose=True)


def _fold_norm(layers: nn.Sequential, index: int, transpose: bool = False) -> None:
    conv, norm = layers[index], layers[index + 1]
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    assert isinstance(norm, nn.BatchNorm2d)
    layers[index] = fuse_conv_bn_eval(conv, norm, transpose)
    layers[index + 1] = nn.Identity()
