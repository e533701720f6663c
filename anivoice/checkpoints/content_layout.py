"""What tensors a content encoder has, their fairseq names, and its sizes read from their shapes (SPEC 4, 4.2)."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from anivoice.checkpoints.voice_layout import Shape, count_numbered
from anivoice.models.hubert import HubertConfig

DEFAULT_NUM_HEADS = 12
DEFAULT_CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)
MAX_CONV_LAYERS = 16
MAX_ENCODER_LAYERS = 100
MAX_STRIDE = 16
HOP_SAMPLES = 320
WINDOW_SAMPLES = 400
_POS_CONV = "encoder.pos_conv_embed.conv"
# Variants of the architecture that other HuBERT files use and this implementation does not have.
_REQUIRED_VALUES: Mapping[str, object] = {
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "conv_bias": False,
    "do_stable_layer_norm": False,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
}
_FAIRSEQ_NAMES = (
    (re.compile(r"^feature_extractor\.conv_layers\.(\d+)\.0\."), r"feature_extractor.conv_layers.\1.conv."),
    (re.compile(r"^feature_extractor\.conv_layers\.(\d+)\.2\."), r"feature_extractor.conv_layers.\1.layer_norm."),
    (re.compile(r"^layer_norm\."), "feature_projection.layer_norm."),
    (re.compile(r"^post_extract_proj\."), "feature_projection.projection."),
    (re.compile(r"^encoder\.pos_conv\.0\."), f"{_POS_CONV}."),
    (re.compile(r"^(encoder\.layers\.\d+)\.self_attn\."), r"\1.attention."),
    (re.compile(r"^(encoder\.layers\.\d+)\.self_attn_layer_norm\."), r"\1.layer_norm."),
    (re.compile(r"^(encoder\.layers\.\d+)\.fc1\."), r"\1.feed_forward.intermediate_dense."),
    (re.compile(r"^(encoder\.layers\.\d+)\.fc2\."), r"\1.feed_forward.output_dense."),
)


def from_fairseq_name(name: str) -> str:
    """Hugging Face's name of a fairseq parameter; names that both share pass."""
    for pattern, replacement in _FAIRSEQ_NAMES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


def read_content_config(shapes: Mapping[str, Shape], settings: Mapping[str, object]) -> HubertConfig:
    """The sizes of the encoder with tensors of `shapes` (folded), `settings` being its config.json or empty.

    Heads and strides, which no shape shows, come from `settings` or are those of HuBERT base. Raises ValueError.
    """
    for name, required in _REQUIRED_VALUES.items():
        if settings.get(name, required) != required:
            raise ValueError(f"its setting {name} is {settings[name]!r}; only {required!r} is supported")
    num_convs = count_numbered(shapes, "feature_extractor.conv_layers.{}.conv.weight", MAX_CONV_LAYERS)
    convs = [_shape(shapes, f"feature_extractor.conv_layers.{i}.conv.weight", 3) for i in range(num_convs)]
    hidden, pos_group_size, pos_kernel = _shape(shapes, f"{_POS_CONV}.weight", 3)
    num_heads = _integer(settings.get("num_attention_heads", DEFAULT_NUM_HEADS), "num_attention_heads", 1, hidden)
    if not convs or hidden % num_heads or pos_group_size < 1 or hidden % pos_group_size:
        raise ValueError(f"its hidden size {hidden} fits neither {num_heads} heads nor its other tensors")
    config = HubertConfig(
        conv_dims=tuple(shape[0] for shape in convs),
        conv_kernels=tuple(shape[2] for shape in convs),
        conv_strides=_strides(settings.get("conv_stride", DEFAULT_CONV_STRIDES), len(convs)),
        hidden_size=hidden,
        intermediate_size=_shape(shapes, "encoder.layers.0.feed_forward.intermediate_dense.weight", 2)[0],
        num_layers=_num_layers(shapes, settings),
        num_heads=num_heads,
        pos_conv_kernel_size=pos_kernel,
        pos_conv_groups=hidden // pos_group_size,
        proj_size=_shape(shapes, "final_proj.weight", 2)[0] if "final_proj.weight" in shapes else None,
        layer_norm_eps=_epsilon(settings.get("layer_norm_eps", 1e-5)),
    )
    _check_frames(config)
    return config


def expected_content_shapes(config: HubertConfig) -> dict[str, Shape]:
    """Name and shape of every parameter of the HubertModel built from `config`."""
    return dict(_shapes(config))


def _shapes(config: HubertConfig) -> Iterator[tuple[str, Shape]]:
    hidden, num_conv_channels = config.hidden_size, config.conv_dims[-1]
    num_inputs = (1, *config.conv_dims)
    for layer, sizes in enumerate(zip(config.conv_dims, num_inputs, config.conv_kernels, strict=False)):
        yield f"feature_extractor.conv_layers.{layer}.conv.weight", sizes
    yield from _norm("feature_extractor.conv_layers.0.layer_norm", config.conv_dims[0])
    yield from _norm("feature_projection.layer_norm", num_conv_channels)
    yield from _linear("feature_projection.projection", hidden, num_conv_channels)
    yield from _linear(_POS_CONV, hidden, hidden // config.pos_conv_groups, config.pos_conv_kernel_size)
    yield from _norm("encoder.layer_norm", hidden)
    for index in range(config.num_layers):
        layer_name = f"encoder.layers.{index}"
        for letter in ("q", "k", "v", "out"):
            yield from _linear(f"{layer_name}.attention.{letter}_proj", hidden, hidden)
        yield from _norm(f"{layer_name}.layer_norm", hidden)
        yield from _linear(f"{layer_name}.feed_forward.intermediate_dense", config.intermediate_size, hidden)
        yield from _linear(f"{layer_name}.feed_forward.output_dense", hidden, config.intermediate_size)
        yield from _norm(f"{layer_name}.final_layer_norm", hidden)
    if config.proj_size is not None:
        yield from _linear("final_proj", config.proj_size, hidden)


def _linear(name: str, *shape: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _norm(name: str, size: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _shape(shapes: Mapping[str, Shape], name: str, num_dims: int) -> Shape:
    shape = shapes.get(name)
    if shape is None or len(shape) != num_dims:
        raise ValueError(f"it holds no HuBERT: {name} is missing or has another form")
    return shape


def _num_layers(shapes: Mapping[str, Shape], settings: Mapping[str, object]) -> int:
    """Layers in the file, which must be as many as the settings say, if they do."""
    num_layers = count_numbered(shapes, "encoder.layers.{}.layer_norm.weight", MAX_ENCODER_LAYERS)
    if num_layers == 0 or settings.get("num_hidden_layers", num_layers) != num_layers:
        raise ValueError(f"it holds {num_layers} layers, not as many as its config says")
    return num_layers


def _strides(value: object, num_convs: int) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or len(value) != num_convs:
        raise ValueError(f"its conv_stride is not a list of {num_convs} numbers")
    return tuple(_integer(stride, "conv_stride", 1, MAX_STRIDE) for stride in value)


def _check_frames(config: HubertConfig) -> None:
    """One frame for 400 samples and another for every 320 more: all that follows counts on it (SPEC 4)."""
    hop = math.prod(config.conv_strides)
    if hop != HOP_SAMPLES or config.num_frames(WINDOW_SAMPLES) != 1 or config.num_frames(WINDOW_SAMPLES - 1) != 0:
        raise ValueError(
            f"its convolutions do not give a frame of {WINDOW_SAMPLES} samples every {HOP_SAMPLES} samples"
        )


def _integer(value: object, name: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"its setting {name} is not a whole number in {low}..{high}")
    return value


def _epsilon(value: object) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError("its setting layer_norm_eps is not a small positive number")
    return value
