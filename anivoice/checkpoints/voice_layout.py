"""What tensors a voice of a given configuration has, and what configuration a set of tensors has (SPEC 1.4, 1.5)."""

import math
from collections.abc import Iterable, Iterator, Mapping

from anivoice.models.voice_config import VoiceConfig

Shape = tuple[int, ...]

# Constants of the architecture that no config names (SPEC 1.4, 2.3, 3, 13.1).
RELATIVE_WINDOW = 10
NUM_PITCH_BINS = 256
NUM_FLOWS = 4
FLOW_KERNEL_SIZE = 5
NUM_FLOW_LAYERS = 3
EDGE_KERNEL_SIZE = 7
NUM_MRF_SINES = 9


def expected_shapes(config: VoiceConfig) -> dict[str, Shape]:
    """Name and shape of every tensor in the folded state dict of a voice (no `enc_q`; weight norm folded; SPEC 1.4).

    These are exactly the parameters of the synthesizer built from `config`. RefineGAN is not described here.
    """
    shapes: dict[str, Shape] = {"emb_g.weight": (config.num_speakers, config.gin_channels)}
    shapes.update(_text_encoder_shapes(config))
    for flow in range(0, 2 * NUM_FLOWS, 2):
        shapes.update(_flow_shapes(config, f"flow.flows.{flow}."))
    shapes.update(_decoder_shapes(config))
    return shapes


def noise_strides(config: VoiceConfig) -> tuple[int, ...]:
    """Samples of the source per sample of each decoder stage: the product of the later stages' rates."""
    rates = config.upsample_rates
    return tuple(math.prod(rates[stage + 1 :]) for stage in range(len(rates)))


def _linear(name: str, *shape: int) -> Iterator[tuple[str, Shape]]:
    """A weight and a bias as long as the weight's first dimension."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _text_encoder_shapes(config: VoiceConfig) -> Iterator[tuple[str, Shape]]:
    hidden, filters, kernel = config.hidden_channels, config.filter_channels, config.kernel_size
    yield from _linear("enc_p.emb_phone", hidden, config.content_dim)
    if config.has_f0:
        yield "enc_p.emb_pitch.weight", (NUM_PITCH_BINS, hidden)
    for layer in range(config.num_layers):
        attention = f"enc_p.encoder.attn_layers.{layer}."
        relative = (1, 2 * RELATIVE_WINDOW + 1, hidden // config.num_heads)
        yield f"{attention}emb_rel_k", relative
        yield f"{attention}emb_rel_v", relative
        for letter in "qkvo":
            yield from _linear(f"{attention}conv_{letter}", hidden, hidden, 1)
        for norm in (1, 2):
            yield f"enc_p.encoder.norm_layers_{norm}.{layer}.gamma", (hidden,)
            yield f"enc_p.encoder.norm_layers_{norm}.{layer}.beta", (hidden,)
        yield from _linear(f"enc_p.encoder.ffn_layers.{layer}.conv_1", filters, hidden, kernel)
        yield from _linear(f"enc_p.encoder.ffn_layers.{layer}.conv_2", hidden, filters, kernel)
    yield from _linear("enc_p.proj", 2 * config.inter_channels, hidden, 1)


def _flow_shapes(config: VoiceConfig, prefix: str) -> Iterator[tuple[str, Shape]]:
    hidden, half = config.hidden_channels, config.inter_channels // 2
    yield from _linear(f"{prefix}pre", hidden, half, 1)
    yield from _linear(f"{prefix}post", half, hidden, 1)
    yield from _linear(f"{prefix}enc.cond_layer", 2 * hidden * NUM_FLOW_LAYERS, config.gin_channels, 1)
    for layer in range(NUM_FLOW_LAYERS):
        is_last = layer == NUM_FLOW_LAYERS - 1
        yield from _linear(f"{prefix}enc.in_layers.{layer}", 2 * hidden, hidden, FLOW_KERNEL_SIZE)
        yield from _linear(f"{prefix}enc.res_skip_layers.{layer}", hidden if is_last else 2 * hidden, hidden, 1)


def _decoder_shapes(config: VoiceConfig) -> Iterator[tuple[str, Shape]]:
    is_mrf = config.vocoder == "MRF HiFi-GAN"
    first = config.upsample_initial_channel
    channels = [first // 2**stage for stage in range(len(config.upsample_rates) + 1)]
    yield from _linear("dec.conv_pre", first, config.inter_channels, EDGE_KERNEL_SIZE)
    yield from _linear("dec.cond", first, config.gin_channels, 1)
    yield "dec.conv_post.weight", (1, channels[-1], EDGE_KERNEL_SIZE)
    if is_mrf:
        yield "dec.conv_post.bias", (1,)
    if config.has_f0:
        yield from _linear("dec.m_source.l_linear", 1, NUM_MRF_SINES if is_mrf else 1)
        for stage, stride in enumerate(noise_strides(config)):
            yield from _linear(f"dec.noise_convs.{stage}", channels[stage + 1], 1, _noise_kernel(stride, is_mrf))
    ups = "dec.upsamples" if is_mrf else "dec.ups"
    for stage, kernel in enumerate(config.upsample_kernel_sizes):
        # A transposed convolution: [in, out, kernel], the bias as long as the second dimension.
        yield f"{ups}.{stage}.weight", (channels[stage], channels[stage + 1], kernel)
        yield f"{ups}.{stage}.bias", (channels[stage + 1],)
        yield from _residual_shapes(config, stage, channels[stage + 1])


def _noise_kernel(stride: int, is_mrf: bool) -> int:
    if stride == 1:
        return 1
    return 2 * stride - stride % 2 if is_mrf else 2 * stride


def _residual_shapes(config: VoiceConfig, stage: int, channels: int) -> Iterator[tuple[str, Shape]]:
    num_kernels = len(config.resblock_kernel_sizes)
    for index, kernel in enumerate(config.resblock_kernel_sizes):
        for conv in range(len(config.resblock_dilation_sizes[index])):
            block = f"dec.resblocks.{stage * num_kernels + index}"
            if config.vocoder == "MRF HiFi-GAN":
                layer = f"dec.mrfs.{stage}.{index}.layers.{conv}"
                names = [f"{layer}.conv1", f"{layer}.conv2"]
            elif config.resblock == "1":
                names = [f"{block}.convs1.{conv}", f"{block}.convs2.{conv}"]
            else:
                names = [f"{block}.convs.{conv}"]
            for name in names:
                yield from _linear(name, channels, channels, kernel)


def count_numbered(names: Iterable[str], pattern: str, limit: int) -> int:
    """How many numbered items there are: 1 + the highest number at `{}` in `pattern`, so that a gap shows as missing.

    Raises ValueError above `limit`.
    """
    prefix, suffix = pattern.split("{}")
    numbers = (name.removeprefix(prefix).removesuffix(suffix) for name in names if _is_between(name, prefix, suffix))
    count = 1 + max((int(number) for number in numbers if number.isdecimal() and len(number) < 9), default=-1)
    if count > limit:
        raise ValueError(f"it numbers {pattern} up to {count - 1}, more than {limit}")
    return count


def _is_between(name: str, prefix: str, suffix: str) -> bool:
    return name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix) + len(suffix)


def describe_misfit(shapes: Mapping[str, Shape], expected: Mapping[str, Shape], max_named: int = 3) -> str | None:
    """What is missing or mis-shaped, the first few by name; None if everything that is needed fits. Extras are fine."""
    faults = [
        f"{name} is {list(shapes[name])} instead of {list(shape)}" if name in shapes else f"{name} is missing"
        for name, shape in expected.items()
        if shapes.get(name) != shape
    ]
    if not faults:
        return None
    more = f", and {len(faults) - max_named} more" if len(faults) > max_named else ""
    return ", ".join(faults[:max_named]) + more
