"""How a window is converted. No torch here: the engine's requests carry these."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConversionOptions:
    """Names, meanings and ranges as in `parameters.ConversionParameters`."""

    index_rate: float = 0.0
    protect: float = 0.33
    formant_shift: float = 0.0
    speaker_id: int = 0
