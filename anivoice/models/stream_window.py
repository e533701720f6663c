"""A window of a live stream, for the networks that remember the ones before."""

from dataclasses import dataclass

from anivoice.models.conv_memory import ConvMemory
from anivoice.models.fcpe_memory import FcpeMemory
from anivoice.models.layer_memory import LayerMemory

ContentMemory = ConvMemory | LayerMemory


@dataclass(frozen=True)
class StreamWindow:
    """Where a window lies in its stream, for the content encoders. `memory` is what the encoder made for this stream
    (`new_memory`); `first_frame`: of 20 ms, negative where the window begins before the stream; `num_samples`: the rest
    of the window is not there yet.
    """

    memory: ContentMemory
    first_frame: int
    num_samples: int


@dataclass(frozen=True)
class PitchWindow:
    """The same for FCPE, in frames of 10 ms: f0 is wanted from `first_wanted` to the window's end. The next window will
    want it from `num_ahead` before that end. Without a memory `num_context` frames are heard before what is wanted.
    """

    memory: FcpeMemory
    first_frame: int
    first_wanted: int
    num_ahead: int
    num_context: int
