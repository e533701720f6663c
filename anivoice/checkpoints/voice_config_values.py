"""The values of a voice's `config` list: from a stranger's file to a checked VoiceConfig, and back (SPEC 1.2)."""

import math
from collections.abc import Mapping, Sequence

from anivoice.models.voice_config import Version, Vocoder, VoiceConfig

NUM_CONFIG_VALUES = 18
SAMPLE_RATES_HZ = (8_000, 192_000)
MAX_CHANNELS = 8_192
MAX_LAYERS = 64
MAX_STAGES = 8
MAX_KERNEL_SIZE = 512
MAX_RATE = 64
MAX_DILATION = 64
MAX_SPEAKERS = 100_000


def config_from_values(
    values: object, *, version: Version, has_f0: bool, num_speakers: int, vocoder: Vocoder
) -> VoiceConfig:
    """The configuration in a community file's `config` list. Raises ValueError, naming the value that is wrong."""
    if not isinstance(values, list | tuple) or len(values) != NUM_CONFIG_VALUES:
        raise ValueError(f"its config is not a list of {NUM_CONFIG_VALUES} values")
    resblock = str(values[9])
    if resblock not in ("1", "2"):
        raise ValueError(f"config[9] (resblock) is {_short(values[9])}, not '1' or '2'")
    config = VoiceConfig(
        version=version,
        has_f0=has_f0,
        inter_channels=_integer(values, 2, "inter_channels", 2, MAX_CHANNELS),
        hidden_channels=_integer(values, 3, "hidden_channels", 1, MAX_CHANNELS),
        filter_channels=_integer(values, 4, "filter_channels", 1, MAX_CHANNELS),
        num_heads=_integer(values, 5, "n_heads", 1, MAX_CHANNELS),
        num_layers=_integer(values, 6, "n_layers", 1, MAX_LAYERS),
        kernel_size=_integer(values, 7, "kernel_size", 1, MAX_KERNEL_SIZE),
        resblock="1" if resblock == "1" else "2",
        resblock_kernel_sizes=_integers(values[10], "config[10] (resblock_kernel_sizes)", MAX_KERNEL_SIZE),
        resblock_dilation_sizes=_dilations(values[11]),
        upsample_rates=_integers(values[12], "config[12] (upsample_rates)", MAX_RATE),
        upsample_initial_channel=_integer(values, 13, "upsample_initial_channel", 1, MAX_CHANNELS),
        upsample_kernel_sizes=_integers(values[14], "config[14] (upsample_kernel_sizes)", MAX_KERNEL_SIZE),
        num_speakers=num_speakers,
        gin_channels=_integer(values, 16, "gin_channels", 1, MAX_CHANNELS),
        sample_rate_hz=parse_sample_rate(values[17]),
        vocoder=vocoder,
    )
    check_config(config)
    return config


def values_from_config(config: VoiceConfig) -> list[object]:
    """The community format's `config` list; the unused entries get their usual values."""
    spec_channels = 513 if config.sample_rate_hz <= 32_000 else 1_025
    return [
        spec_channels,
        32,
        config.inter_channels,
        config.hidden_channels,
        config.filter_channels,
        config.num_heads,
        config.num_layers,
        config.kernel_size,
        0,
        config.resblock,
        list(config.resblock_kernel_sizes),
        [list(dilations) for dilations in config.resblock_dilation_sizes],
        list(config.upsample_rates),
        config.upsample_initial_channel,
        list(config.upsample_kernel_sizes),
        config.num_speakers,
        config.gin_channels,
        config.sample_rate_hz,
    ]


def check_config(config: VoiceConfig) -> None:
    """Raises ValueError if the values of `config` contradict each other or are no network's that could be built."""
    rates, kernels = config.upsample_rates, config.upsample_kernel_sizes
    sizes = (config.inter_channels, config.hidden_channels, config.filter_channels, config.num_heads, config.num_layers)
    if min(*sizes, config.kernel_size, config.gin_channels, *rates, *kernels, *config.resblock_kernel_sizes) < 1:
        raise ValueError("its config is wrong: a size is zero")
    faults: Mapping[str, bool] = {
        "inter_channels is not even": config.inter_channels % 2 != 0,
        "hidden_channels is not a multiple of n_heads": config.hidden_channels % config.num_heads != 0,
        "a residual block's kernel size is even": any(kernel % 2 == 0 for kernel in config.resblock_kernel_sizes),
        "there are not as many lists of dilations as residual kernels": (
            len(config.resblock_dilation_sizes) != len(config.resblock_kernel_sizes)
        ),
        "there are not as many upsampling kernels as rates": len(kernels) != len(rates),
        "upsample_initial_channel is too small for the stages": config.upsample_initial_channel < 2 ** len(rates),
        "the vocoder MRF HiFi-GAN has no form without f0": config.vocoder == "MRF HiFi-GAN" and not config.has_f0,
        f"the number of speakers is not in 1..{MAX_SPEAKERS}": not 1 <= config.num_speakers <= MAX_SPEAKERS,
        f"the upsampling rates {list(rates)} do not multiply to a hundredth of {config.sample_rate_hz} Hz": (
            100 * math.prod(rates) != config.sample_rate_hz
        ),
    }
    fault = next((text for text, is_wrong in faults.items() if is_wrong), None)
    if fault is None and not all(_upsampling_is_exact(config, *pair) for pair in zip(rates, kernels, strict=True)):
        fault = f"the upsampling kernels {list(kernels)} do not fit the rates {list(rates)}"
    if fault is not None:
        raise ValueError(f"its config is wrong: {fault}")


def _upsampling_is_exact(config: VoiceConfig, rate: int, kernel: int) -> bool:
    """Whether the transposed convolution gives exactly `rate` samples for one (SPEC 2.5, 13.1)."""
    if config.vocoder == "MRF HiFi-GAN" and rate % 2 == 1:
        return kernel == 2 * rate
    return kernel >= rate and (kernel - rate) % 2 == 0


def parse_sample_rate(value: object) -> int:
    """Hz from 40000, "40000" or "40k". Raises ValueError."""
    rate: object = value
    if isinstance(value, str) and len(value) <= 8 and value.lower().removesuffix("k").isdecimal():
        rate = int(value.lower().removesuffix("k")) * (1_000 if value.lower().endswith("k") else 1)
    low, high = SAMPLE_RATES_HZ
    if not isinstance(rate, int) or isinstance(rate, bool) or not low <= rate <= high:
        raise ValueError(f"its sample rate is {_short(value)}, not a number of Hz in {low}..{high} or such as '40k'")
    return rate


def _short(value: object) -> str:
    return f"a {type(value).__name__}" if isinstance(value, list | tuple | dict) else repr(value)[:40]


def _integer(values: Sequence[object], index: int, name: str, low: int, high: int) -> int:
    value = values[index]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"config[{index}] ({name}) is {_short(value)}, not a whole number in {low}..{high}")
    return value


def _integers(value: object, name: str, high: int) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_STAGES:
        raise ValueError(f"{name} is not a list of 1 to {MAX_STAGES} numbers")
    return tuple(_integer(value, index, name, 1, high) for index in range(len(value)))


def _dilations(value: object) -> tuple[tuple[int, ...], ...]:
    name = "config[11] (resblock_dilation_sizes)"
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_STAGES:
        raise ValueError(f"{name} is not a list of 1 to {MAX_STAGES} lists")
    return tuple(_integers(dilations, name, MAX_DILATION) for dilations in value)
