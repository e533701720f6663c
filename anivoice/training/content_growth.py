"""An encoder made larger without forgetting: what it was says the same, what is new says nothing yet.

Chen et al., 2015 (Net2Net) call such a change function-preserving.
"""

from dataclasses import replace
from pathlib import Path

from anivoice.checkpoints.content_file import load_content_model
from anivoice.errors import InvalidParameter
from anivoice.models.small_encoder import SmallEncoder, SmallEncoderConfig

FAR_BIAS = -4.0
"""Of attention to the frames that are new in its reach: hardly any at first."""


def load_base(path: Path, network: SmallEncoderConfig) -> SmallEncoder:
    """The encoder of `path` in the sizes of `network`.

    Raises InvalidParameter unless the two differ at most in feed-forward width and reach of the attention, which grow.
    """
    base = load_content_model(path)
    if not isinstance(base, SmallEncoder):
        raise InvalidParameter(f"base: {path.name} is no small encoder")
    old = base.config
    grown = replace(old, ff_width=network.ff_width, attention_frames=network.attention_frames)
    if grown != network or old.ff_width > network.ff_width or old.attention_frames > network.attention_frames:
        raise InvalidParameter(f"base: {path.name} is no encoder of the sizes that are trained, nor a smaller one")
    model = SmallEncoder(network)
    state = model.state_dict()
    for name, tensor in base.state_dict().items():
        if name.endswith("ff_out.weight"):
            state[name].zero_()
        elif name.endswith("distance_bias"):
            state[name].fill_(FAR_BIAS)
        state[name][tuple(slice(length) for length in tensor.shape)] = tensor
    model.load_state_dict(state)
    return model
