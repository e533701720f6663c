"""FCPE, the pitch network of torchfcpe 0.0.4 in the form of its bundled weights (mel input, convolutions only)."""

import itertools
import re
from collections.abc import Callable
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anivoice.errors import InvalidModelFile
from anivoice.models.cpu.packed_layers import fastest_dtype, for_short_windows
from anivoice.models.fcpe_memory import PROVISIONAL_FRAMES
from anivoice.models.mel import LogMel
from anivoice.models.pauses import chunks, in_chunks, point
from anivoice.models.salience import cents_to_hz, decode_cents
from anivoice.models.state_dict import load_exact
from anivoice.models.stream_window import PitchWindow
from anivoice.models.weight_norm import fold_weight_norm

HOP_SAMPLES = 160
NUM_MELS = 128
MIDDLE_KERNEL_FRAMES, KERNEL_FRAMES = 3, 31
LEFT_PAD_SAMPLES = (1024 - HOP_SAMPLES) // 2
DEFAULT_THRESHOLD = 0.006
POWER_FLOOR = 1e-9
NUM_NORM_GROUPS = 4
FILE_LABEL = "the FCPE file"
STEP_FRAMES = 512
"""Frames of a long recording that a CPU puts through a layer at once."""

EDGE_FRAMES = 3
"""As many frames at the edge of what is heard know of the edge by their spectrum."""

OUTER_PARTS = {
    "input_stack.0": "conv_in",
    "input_stack.1": "norm_in",
    "input_stack.3": "conv_mid",
    "norm": "norm_out",
    "output_proj": "output",
}
LAYER_NAME = re.compile(r"net\.encoder_layers\.(?P<index>\d+)\.conformer\.net\.(?P<part>\d+(\.conv)?)\.(?P<kind>\w+)")
POINTWISE = (".expand.weight", ".project.weight")
"""Stored as convolutions over one frame, `[out, in, 1]`."""
LAYER_PARTS = {"0": "norm", "2": "expand", "4.conv": "depthwise", "6": "project"}


def _windowed(compute: Callable[[Tensor], Tensor], x: Tensor, reach_frames: int) -> Tensor:
    """`compute` of all frames `[B, T, C]`, chunk by chunk; it takes `reach_frames` more on both sides than it gives."""
    padded = F.pad(x, (0, 0, reach_frames, reach_frames))
    parts = []
    for start, part in zip(itertools.count(0, STEP_FRAMES), chunks(x, STEP_FRAMES, 1)):
        parts.append(compute(padded[:, start : start + part.shape[1] + 2 * reach_frames]))
        point()
    return torch.cat(parts, 1)


class ConvModule(nn.Module):
    """LayerNorm, gated linear, depthwise convolution, SiLU, linear. `[B, T, C]` -> `[B, T, C]`.

    Channels stay last: a CPU does the depthwise convolution 20 times faster so.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, 2 * inner)
        self.depthwise = nn.Conv1d(inner, inner, KERNEL_FRAMES, padding=KERNEL_FRAMES // 2, groups=inner)
        self.project = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        gated = in_chunks(self.gated, x, STEP_FRAMES, 1)
        return _windowed(self.filtered, gated, KERNEL_FRAMES // 2)

    def gated(self, x: Tensor) -> Tensor:
        """`[B, T, C]` -> `[B, T, 2 C]`."""
        return F.glu(self.expand(self.norm(x)))

    def filtered(self, padded: Tensor) -> Tensor:
        """`[B, T + KERNEL_FRAMES - 1, 2 C]` -> `[B, T, C]`."""
        # As an image of height 1 whose channels come last in memory, without a copy.
        image, kernel = padded.transpose(1, 2).unsqueeze(2), self.depthwise.weight.unsqueeze(2)
        image = F.conv2d(image, kernel, self.depthwise.bias, groups=self.depthwise.groups)
        projected: Tensor = self.project(F.silu(image.squeeze(2).transpose(1, 2)))
        return projected


class Fcpe(nn.Module):
    """Samples -> f0. Build it with `build_fcpe`. Runs in float32 (its salience is compared with 0.006), but for the
    layers that live streams on a CPU go through: those as fast as the CPU can, in bfloat16 (f0 of 99.9 % of frames is
    within 10 cents of what float32 gives, and all are voiced alike).
    """

    cent_table: Tensor

    def __init__(self, channels: int, num_layers: int, num_bins: int) -> None:
        super().__init__()
        with torch.device("meta"):
            self.conv_in = nn.Conv1d(NUM_MELS, channels, 3, padding=1)
            self.norm_in = nn.GroupNorm(NUM_NORM_GROUPS, channels)
            self.conv_mid = nn.Conv1d(channels, channels, MIDDLE_KERNEL_FRAMES)
            self.layers = nn.ModuleList(ConvModule(channels) for _ in range(num_layers))
            self.norm_out = nn.LayerNorm(channels)
            self.output = nn.Linear(channels, num_bins)
            self.register_buffer("cent_table", torch.empty(num_bins))
        self.front_end = LogMel(NUM_MELS, min_hz=0.0, max_hz=8000.0, htk=False, power_floor=POWER_FLOOR)

    def log_mel(self, samples: Tensor) -> Tensor:
        """`[B, n]` at 16 kHz -> `[B, 128, n//160 + 1]`.

        Reflected by 432 samples at both ends (zeros where that is impossible); the last frame is there twice.
        """
        num_samples = samples.shape[-1]
        right = max(LEFT_PAD_SAMPLES, 1024 - num_samples - LEFT_PAD_SAMPLES)
        mode = "reflect" if right < num_samples else "constant"
        mel = self.front_end(F.pad(samples.float()[:, None], (LEFT_PAD_SAMPLES, right), mode=mode)[:, 0])
        num_frames = num_samples // HOP_SAMPLES + 1
        return torch.cat((mel, mel[:, :, -1:]), dim=2)[:, :, :num_frames]

    def salience(self, log_mel: Tensor) -> Tensor:
        """`[B, 128, T]` -> `[B, T, 360]` in 0..1."""
        x = F.leaky_relu(self.norm_in(self.conv_in(log_mel))).transpose(1, 2)
        point()
        x = _windowed(partial(_over_time, self.conv_mid), x, MIDDLE_KERNEL_FRAMES // 2)
        for layer in self.layers:
            x = x + layer(x)
        logits: Tensor = self.output(self.norm_out(x))
        return logits.sigmoid()

    def forward(self, samples: Tensor) -> Tensor:
        """`[B, n]` at 16 kHz, n >= 0 -> salience `[B, n//160 + 1, 360]`."""
        log_mel = self.log_mel(samples)
        point()
        return self.salience(log_mel)

    @cached_property
    def stream_middle(self) -> nn.Module:
        """`conv_mid` as `stream` uses it."""
        return for_short_windows(nn.Sequential(self.conv_mid), fastest_dtype())

    @cached_property
    def stream_layers(self) -> list[ConvModule]:
        """The layers as `stream` uses them."""
        return [for_short_windows(layer, fastest_dtype()) for layer in self.layers if isinstance(layer, ConvModule)]

    def stream(self, samples: Tensor, window: PitchWindow) -> Tensor:
        """Samples `[1, n]` of a window of a stream -> salience `[1, T, 360]` of its frames that are wanted."""
        memory, end = window.memory, window.first_frame + samples.shape[1] // HOP_SAMPLES
        if window.first_wanted == end:
            return samples.new_zeros(1, 0, self.output.out_features)
        start = max(memory.start(window.first_wanted, window.num_context), window.first_frame)
        heard = self._heard(samples, start - window.first_frame)
        num_settled = max(end - window.num_ahead - PROVISIONAL_FRAMES - start, 0)
        new = _moments(heard)
        moments = memory.with_earlier_moments(new)
        x = F.leaky_relu(self._normed(heard, moments.mean(0))).transpose(1, 2)
        reach, dtype = MIDDLE_KERNEL_FRAMES // 2, fastest_dtype()
        extended = [(memory.extended(0, x.to(dtype), reach), reach)]
        x = _over_time(self.stream_middle, extended[0][0]).float()
        for place, layer in enumerate(self.stream_layers, 1):
            gated = layer.gated(x.to(dtype))
            extended.append((memory.extended(place, gated, KERNEL_FRAMES // 2), KERNEL_FRAMES // 2))
            x = x + layer.filtered(extended[-1][0])
        memory.keep(start, num_settled, moments[: len(moments) - len(new) + num_settled], extended)
        logits: Tensor = self.output(self.norm_out(x[:, window.first_wanted - start :]))
        return logits.sigmoid()

    def _heard(self, samples: Tensor, num_skipped: int) -> Tensor:
        """What the first convolution makes of a window without its first `num_skipped` frames, `[1, C, T]`."""
        num_before = min(EDGE_FRAMES + 1, num_skipped)
        mel = self.log_mel(samples[:, (num_skipped - num_before) * HOP_SAMPLES :])[:, :, :-1]
        heard: Tensor = self.conv_in(mel)
        return heard[:, :, num_before:]

    def _normed(self, x: Tensor, moments: Tensor) -> Tensor:
        """`norm_in` of `[1, C, T]` by given moments `[G, 2]`."""
        norm = self.norm_in
        mean, square = (part.repeat_interleave(x.shape[1] // NUM_NORM_GROUPS)[:, None] for part in moments.unbind(1))
        scale = norm.weight[:, None] * (square - mean.square() + norm.eps).rsqrt()
        return (x - mean) * scale + norm.bias[:, None]

    def decode(self, salience: Tensor, threshold: float = DEFAULT_THRESHOLD) -> Tensor:
        """`[..., 360]` -> f0 in Hz `[...]`, 0 = unvoiced: "local argmax" (SPEC 6.1)."""
        return cents_to_hz(decode_cents(salience, self.cent_table, threshold, repeat_edges=True))


def _over_time(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution of `[B, T, C]`."""
    y: Tensor = conv(x.transpose(1, 2)).transpose(1, 2)
    return y


def _moments(x: Tensor) -> Tensor:
    """Mean and mean square of the norm's groups in each frame: `[1, C, T]` -> `[T, G, 2]`."""
    groups = x[0].view(NUM_NORM_GROUPS, -1, x.shape[2])
    return torch.stack([groups.mean(1), groups.square().mean(1)], dim=2).transpose(0, 1)


def build_fcpe(state: dict[str, Tensor]) -> Fcpe:
    """The network for torchfcpe's `model` entry, float32 on the CPU, in eval mode.

    Raises InvalidModelFile if a tensor is missing or mis-shaped, or if the network has attention layers.
    """
    own = fold_weight_norm({_own_name(name): tensor for name, tensor in state.items()}, FILE_LABEL)
    num_layers = sum(name.endswith(".depthwise.weight") for name in own)
    if num_layers == 0 or not {"conv_mid.weight", "cent_table"} <= own.keys() or any(".attn." in name for name in own):
        raise InvalidModelFile("the file is not an FCPE network without attention, such as torchfcpe 0.0.4 bundles")
    own = {name: tensor.flatten(1) if name.endswith(POINTWISE) else tensor for name, tensor in own.items()}
    model = Fcpe(own["conv_mid.weight"].shape[0], num_layers, own["cent_table"].shape[0])
    load_exact(model, own, FILE_LABEL)
    return model


def _own_name(name: str) -> str:
    """torchfcpe's name of a tensor in ours; a name we have no use for stays as it is."""
    layer = LAYER_NAME.fullmatch(name)
    if layer and layer["part"] in LAYER_PARTS:
        return f"layers.{layer['index']}.{LAYER_PARTS[layer['part']]}.{layer['kind']}"
    module, dot, kind = name.partition(".")
    if module == "input_stack":
        index, dot, kind = kind.partition(".")
        module = f"{module}.{index}"
    return f"{OUTER_PARTS.get(module, module)}{dot}{kind}"
