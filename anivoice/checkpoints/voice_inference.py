"""The configuration of a base generator or training checkpoint, inferred from its tensors' shapes (SPEC 1.5)."""

import itertools
import math
from collections.abc import Mapping
from typing import Literal

from anivoice.checkpoints.voice_config_values import MAX_LAYERS, MAX_STAGES
from anivoice.checkpoints.voice_layout import Shape, count_numbered
from anivoice.models.voice_config import CONTENT_DIM, Version, VoiceConfig

# First upsampling kernel -> first rate.
_FIRST_RATES = {16: 10, 20: 10, 24: 12}
# Kernels -> the layouts that have them. Without noise convolutions nothing else tells the rates.
_LAYOUTS: dict[Shape, tuple[Shape, ...]] = {
    (16, 16, 4, 4): ((10, 10, 2, 2),),
    (20, 16, 4, 4): ((10, 8, 2, 2),),
    (24, 20, 4, 4): ((12, 10, 2, 2),),
    (20, 12, 4, 4): ((10, 6, 2, 2),),
    (16, 16, 4, 4, 4): ((10, 4, 2, 2, 2), (10, 6, 2, 2, 2)),
}
# Rows of the posterior encoder's spectrogram; 1025 stands for 40 and 48 kHz.
_SPEC_CHANNELS_32K = 513
_DILATIONS: dict[Literal["1", "2"], Shape] = {"1": (1, 3, 5), "2": (1, 3)}


def infer_config(shapes: Mapping[str, Shape], sample_rate_hz: int | None = None) -> VoiceConfig:
    """The configuration that `shapes` (of the folded tensors; `enc_q.pre.weight` too, if present) belongs to.

    `sample_rate_hz` decides where the shapes do not. Raises ValueError, with a sentence to show, for shapes that are
    no voice's, or that leave the sample rate open.
    """
    is_mrf = "dec.upsamples.0.weight" in shapes
    ups = "dec.upsamples" if is_mrf else "dec.ups"
    hidden, content_dim = _shape(shapes, "enc_p.emb_phone.weight", 2)
    filters, _, kernel = _shape(shapes, "enc_p.encoder.ffn_layers.0.conv_1.weight", 3)
    head_size = max(_shape(shapes, "enc_p.encoder.attn_layers.0.emb_rel_k", 3)[2], 1)
    num_speakers, gin = _shape(shapes, "emb_g.weight", 2)
    num_stages = count_numbered(shapes, f"{ups}.{{}}.weight", MAX_STAGES)
    kernels = tuple(_shape(shapes, f"{ups}.{stage}.weight", 3)[2] for stage in range(num_stages))
    resblock, block_kernels = _residual_blocks(shapes, num_stages, is_mrf)
    rates = _rates(shapes, kernels, sample_rate_hz)
    return VoiceConfig(
        version=_version(content_dim),
        has_f0="enc_p.emb_pitch.weight" in shapes,
        inter_channels=_shape(shapes, "enc_p.proj.weight", 3)[0] // 2,
        hidden_channels=hidden,
        filter_channels=filters,
        num_heads=hidden // head_size,
        num_layers=count_numbered(shapes, "enc_p.encoder.attn_layers.{}.emb_rel_k", MAX_LAYERS),
        kernel_size=kernel,
        resblock=resblock,
        resblock_kernel_sizes=block_kernels,
        resblock_dilation_sizes=(_DILATIONS[resblock],) * len(block_kernels),
        upsample_rates=rates,
        upsample_initial_channel=_shape(shapes, f"{ups}.0.weight", 3)[0],
        upsample_kernel_sizes=kernels,
        num_speakers=num_speakers,
        gin_channels=gin,
        sample_rate_hz=100 * math.prod(rates),
        vocoder="MRF HiFi-GAN" if is_mrf else "HiFi-GAN",
    )


def _shape(shapes: Mapping[str, Shape], name: str, num_dims: int) -> Shape:
    shape = shapes.get(name)
    if shape is None or len(shape) != num_dims:
        raise ValueError(f"it holds no voice: {name} is missing or has another form")
    return shape


def _version(content_dim: int) -> Version:
    for version, dim in CONTENT_DIM.items():
        if dim == content_dim:
            return version
    raise ValueError(f"its content features are {content_dim} wide, not 256 (v1) or 768 (v2)")


def _residual_blocks(
    shapes: Mapping[str, Shape], num_stages: int, is_mrf: bool
) -> tuple[Literal["1", "2"], tuple[int, ...]]:
    """The kind of the residual blocks and the kernel sizes of one stage's."""
    if is_mrf:
        pattern = "dec.mrfs.0.{}.layers.0.conv1.weight"
        num_kernels = count_numbered(shapes, pattern, MAX_STAGES)
        _check_num_convs(shapes, "dec.mrfs.0.0.layers.{}.conv1.weight", "1")
        return "1", tuple(_shape(shapes, pattern.format(index), 3)[2] for index in range(num_kernels))
    resblock: Literal["1", "2"] = "1" if "dec.resblocks.0.convs1.0.weight" in shapes else "2"
    pattern = "dec.resblocks.{}.convs1.0.weight" if resblock == "1" else "dec.resblocks.{}.convs.0.weight"
    num_blocks = count_numbered(shapes, pattern, MAX_STAGES * MAX_STAGES)
    if num_stages == 0 or num_blocks == 0 or num_blocks % num_stages:
        raise ValueError(f"it holds no known decoder: {num_blocks} residual blocks in {num_stages} stages")
    _check_num_convs(shapes, pattern.format(0).replace("0.weight", "{}.weight"), resblock)
    return resblock, tuple(_shape(shapes, pattern.format(i), 3)[2] for i in range(num_blocks // num_stages))


def _check_num_convs(shapes: Mapping[str, Shape], pattern: str, resblock: Literal["1", "2"]) -> None:
    """Dilations are not in the file; only blocks of the usual size can be taken to have the usual ones."""
    num_convs = count_numbered(shapes, pattern, MAX_STAGES)
    if num_convs != len(_DILATIONS[resblock]):
        raise ValueError(f"its residual blocks have {num_convs} steps, and nothing tells their dilations")


def _rates(shapes: Mapping[str, Shape], kernels: Shape, sample_rate_hz: int | None) -> tuple[int, ...]:
    later = _later_rates(shapes, len(kernels))
    if later is not None:
        candidates = _with_first_rate(kernels, later, sample_rate_hz)
    else:
        candidates = _LAYOUTS.get(kernels, ())
        if not candidates:
            raise ValueError(f"its upsampling kernels {list(kernels)} belong to no known layout")
    spec_channels = shapes.get("enc_q.pre.weight", (0, 0))[1:2]
    if len(candidates) > 1 and spec_channels > (0,):
        is_32k = spec_channels == (_SPEC_CHANNELS_32K,)
        candidates = tuple(rates for rates in candidates if (math.prod(rates) == 320) == is_32k)
    known_hz = [100 * math.prod(rates) for rates in candidates]
    if sample_rate_hz is None and len(candidates) > 1:
        raise ValueError(f"it does not say its sample rate ({' or '.join(map(str, known_hz))} Hz): give the rate")
    if sample_rate_hz is not None and sample_rate_hz not in known_hz:
        raise ValueError(f"its sample rate is {' or '.join(map(str, known_hz))} Hz, not {sample_rate_hz}")
    return next(rates for rates in candidates if sample_rate_hz in (None, 100 * math.prod(rates)))


def _later_rates(shapes: Mapping[str, Shape], num_stages: int) -> tuple[int, ...] | None:
    """All rates but the first, from the noise convolutions' kernels; None without them."""
    if num_stages == 0 or "dec.noise_convs.0.weight" not in shapes:
        return None
    kernels = [_shape(shapes, f"dec.noise_convs.{stage}.weight", 3)[2] for stage in range(num_stages - 1)]
    strides = [max((kernel + 1) // 2, 1) for kernel in kernels] + [1]
    if any(before % after for before, after in itertools.pairwise(strides)):
        raise ValueError("the kernels of its noise convolutions belong to no upsampling rates")
    return tuple(before // after for before, after in itertools.pairwise(strides))


def _with_first_rate(kernels: Shape, later: tuple[int, ...], sample_rate_hz: int | None) -> tuple[Shape, ...]:
    first = _FIRST_RATES.get(kernels[0])
    if first is None:
        if sample_rate_hz is None:
            raise ValueError("it does not say its sample rate: give the rate")
        first = sample_rate_hz // (100 * math.prod(later))
    return ((first, *later),)
