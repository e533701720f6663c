"""RMVPE, the pitch network (SPEC 5): log-mel front end, U-net, bidirectional GRU, decoding to Hz.

Parameter names are those of `rmvpe.pt`, and every size is read from its shapes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anivoice.errors import InvalidModelFile
from anivoice.models.mel import LogMel
from anivoice.models.pauses import point
from anivoice.models.rmvpe_unet import RmvpeConfig, UNet, fold_norms
from anivoice.models.salience import cents_to_hz, decode_cents
from anivoice.models.state_dict import load_exact

HOP_SAMPLES = 160
PAD_SAMPLES = 512
NUM_MELS = 128
NUM_BINS = 360
CENTS_PER_BIN = 20.0
FIRST_BIN_CENTS = 1997.3794084376191
DEFAULT_THRESHOLD = 0.03
FRAME_MULTIPLE = 32
"""What the reference fills frames up to, also for a network of fewer levels, which could do with less (SPEC 5.2)."""

GRU_STEP_FRAMES = 256
"""Frames of a long recording that a CPU puts through the GRU at once."""


class BiGru(nn.Module):
    def __init__(self, in_features: int, hidden_features: int, num_layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(in_features, hidden_features, num_layers, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, in]` -> `[B, T, 2 hidden]`. What is long goes on a CPU in chunks, the state handed on."""
        if x.device.type != "cpu" or x.shape[1] <= GRU_STEP_FRAMES:
            out: Tensor = self.gru(x)[0]
            point()
            return out
        for layer in range(self.gru.num_layers):
            forwards = self._direction(x, f"l{layer}", is_reverse=False)
            backwards = self._direction(x, f"l{layer}_reverse", is_reverse=True)
            x = torch.cat((forwards, backwards), dim=2)
        return x

    def _direction(self, x: Tensor, suffix: str, is_reverse: bool) -> Tensor:
        """One direction of one layer: `[B, T, in]` -> `[B, T, hidden]`."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights: list[Tensor] = [self.gru.get_parameter(f"{name}_{suffix}") for name in names]
        state = x.new_zeros(1, x.shape[0], self.gru.hidden_size)
        x = x.flip(1) if is_reverse else x
        parts = []
        for chunk in torch.split(x, GRU_STEP_FRAMES, dim=1):
            out, state = torch.gru(chunk, state, weights, True, 1, 0.0, False, False, True)
            parts.append(out)
            point()
        joined = torch.cat(parts, dim=1)
        return joined.flip(1) if is_reverse else joined


class Rmvpe(nn.Module):
    """Samples -> salience of 360 pitch bins -> f0. Build it with `build_rmvpe`.

    The mel front end, the sigmoid and the decoding are float32; the network runs in the dtype of its weights.
    """

    bins_cents: Tensor

    def __init__(self, config: RmvpeConfig) -> None:
        super().__init__()
        self.config = config
        # Without storage: the weights come from a file, and filling them with noise first would take a second.
        with torch.device("meta"):
            self.unet = UNet(config)
            self.cnn = nn.Conv2d(config.first_channels, config.cnn_channels, 3, padding=1)
            self.fc = nn.Sequential(
                BiGru(config.cnn_channels * NUM_MELS, config.gru_channels, config.num_gru_layers),
                nn.Linear(2 * config.gru_channels, NUM_BINS),
            )
        self.front_end = LogMel(NUM_MELS, min_hz=30.0, max_hz=8000.0, htk=True)
        bins_cents = CENTS_PER_BIN * torch.arange(NUM_BINS, dtype=torch.float64) + FIRST_BIN_CENTS
        self.register_buffer("bins_cents", bins_cents.float(), persistent=False)

    def set_network_dtype(self, dtype: torch.dtype) -> None:
        """Converts the weights and nothing else: front end and decoding must stay float32 (SPEC 14)."""
        for part in (self.unet, self.cnn, self.fc):
            part.to(dtype)

    def log_mel(self, samples: Tensor) -> Tensor:
        """`[B, n]` at 16 kHz -> `[B, 128, n//160 + 1]` float32 (SPEC 5.1).

        Reflection needs more than 512 samples: shorter input is first continued with zeros to 513.
        """
        num_samples = samples.shape[-1]
        samples = F.pad(samples.float(), (0, max(PAD_SAMPLES + 1 - num_samples, 0)))
        padded = F.pad(samples[:, None], (PAD_SAMPLES, PAD_SAMPLES), mode="reflect")[:, 0]
        mel: Tensor = self.front_end(padded)
        return mel[:, :, : num_samples // HOP_SAMPLES + 1]

    def salience(self, log_mel: Tensor) -> Tensor:
        """`[B, 128, T]` float32 -> `[B, T, 360]` float32 in 0..1 (SPEC 5.2).

        T is padded with zeros (in the log domain) to a multiple of 32, the answer cut back.
        """
        num_frames = log_mel.shape[-1]
        x = F.pad(log_mel, (0, -num_frames % max(FRAME_MULTIPLE, self.config.frame_multiple)))
        x = x.transpose(1, 2)[:, None].to(self.cnn.weight.dtype)
        x = self.cnn(self.unet(x))
        x = x.transpose(1, 2).flatten(2)
        point()
        logits: Tensor = self.fc(x)[:, :num_frames]
        return logits.float().sigmoid()

    def forward(self, samples: Tensor) -> Tensor:
        """`[B, n]` at 16 kHz -> salience `[B, n//160 + 1, 360]` float32. Any n >= 0."""
        log_mel = self.log_mel(samples)
        point()
        return self.salience(log_mel)

    def decode(self, salience: Tensor, threshold: float = DEFAULT_THRESHOLD) -> Tensor:
        """`[..., 360]` -> f0 in Hz `[...]`, 0 = unvoiced (SPEC 5.3)."""
        return cents_to_hz(decode_cents(salience, self.bins_cents, threshold))


def build_rmvpe(state: dict[str, Tensor]) -> Rmvpe:
    """The network for a flat state dict (fp16 or fp32), in float32 on the CPU, in eval mode, BatchNorms folded.

    Raises InvalidModelFile if a tensor is missing, of the wrong shape, or holds a value that is not finite.
    """
    model = load_rmvpe(state)
    fold_norms(model)
    for parameter in model.unet.parameters():
        if parameter.ndim == 4:  # few channels, long maps: 1.0 (one thread) to 1.2 (two threads) times faster on a CPU
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def load_rmvpe(state: dict[str, Tensor]) -> Rmvpe:
    """The network as the file has it, in float32 and eval mode, nothing folded. Raises as build_rmvpe."""
    model = Rmvpe(read_config(state))
    load_exact(model, state, "the RMVPE file")
    return model


def read_config(state: dict[str, Tensor]) -> RmvpeConfig:
    """Raises InvalidModelFile if the keys are not those of an RMVPE network."""
    config = RmvpeConfig(
        num_blocks=_count(state, "unet.encoder.layers.0.conv.{}.conv.0.weight"),
        num_levels=_count(state, "unet.encoder.layers.{}.conv.0.conv.0.weight"),
        num_intermediate=_count(state, "unet.intermediate.layers.{}.conv.0.conv.0.weight"),
        num_gru_layers=_count(state, "fc.0.gru.weight_ih_l{}"),
        first_channels=_size(state, "unet.encoder.layers.0.conv.0.conv.0.weight", 0),
        cnn_channels=_size(state, "cnn.weight", 0),
        gru_channels=_size(state, "fc.0.gru.weight_hh_l0", 1),
    )
    if min(config.num_intermediate, config.first_channels, config.cnn_channels, config.gru_channels) < 1:
        raise InvalidModelFile("the file is not an RMVPE network: one of its layers is empty")
    if NUM_MELS % config.frame_multiple:
        raise InvalidModelFile(f"the RMVPE network has {config.num_levels} levels, but 128 mel bands allow at most 7")
    return config


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """How many of the keys pattern.format(0), pattern.format(1), ... there are without a gap."""
    count = 0
    while pattern.format(count) in state:
        count += 1
    return count


def _size(state: dict[str, Tensor], name: str, dim: int) -> int:
    tensor = state.get(name)
    if not isinstance(tensor, Tensor) or tensor.ndim <= dim:
        raise InvalidModelFile(
            f"the file is not an RMVPE network: the tensor {name} is missing or has too few dimensions"
        )
    return tensor.shape[dim]
