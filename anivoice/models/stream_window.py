"""A window of a live stream, for the content encoders."""

from dataclasses import dataclass

from anivoice.models.conv_memory import ConvMemory
from anivoice.models.layer_memory import LayerMemory

ContentMemory = ConvMemory | LayerMemory


@dataclass(frozen=True)
class StreamWindow:
    """Where a window lies in its stream. `memory` is what the encoder made for this stream (`new_memory`);
    `first_frame`: of 20 ms, negative where the window begins before the stream; `num_samples`: the rest of the window
    is not there yet.
    """

    memory: ContentMemory
    first_frame: int
    num_samples: int
