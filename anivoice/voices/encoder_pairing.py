"""Which content encoder a voice was made for: finding it, and refusing any other by name.

The features of two encoders have one shape and nothing else in common. Encoders made by `anivoice train content` carry
an id in their file, and a voice trained on one of them names it; all other voices belong to ContentVec and its kind.
"""

from pathlib import Path

from anivoice.errors import InvalidModelFile
from anivoice.voices.assets import EMBEDDED_ENCODER_PREFIX, find_content_encoder

DEFAULT_EMBEDDERS = ("contentvec", "hubert_base", "hubert", "content-vec-best")
"""Names under which voices call the usual content encoder."""


def find_encoder(weights_dir: Path, embedder_model: str | None) -> Path | None:
    """Where the content encoder of that name lies: the usual one, or the folder or file of the name in `weights/`."""
    if embedder_model is None or embedder_model.lower() in DEFAULT_EMBEDDERS:
        return find_content_encoder(weights_dir)
    name = Path(embedder_model).name
    # A voice's file says the name: it is looked up among what is there, and never made a path of.
    present = {path.name: path for path in weights_dir.iterdir()} if weights_dir.is_dir() else {}
    return next((present[file] for file in (name, f"{name}.safetensors", f"{name}.pt") if file in present), None)


def missing_encoder_message(voice_name: str, embedder_model: str | None, weights_dir: Path) -> str:
    """What to do about it."""
    if embedder_model is None or embedder_model.lower() in DEFAULT_EMBEDDERS:
        return f"the content encoder is missing in {weights_dir}: run `anivoice fetch contentvec`"
    name = Path(embedder_model).name
    needed = f"voice {voice_name!r} was made for the content encoder {embedder_model!r}, which is not in {weights_dir}"
    if is_embedded_id(embedder_model):
        return f"{needed}: put the file {name}.safetensors that came with the voice there"
    return f"{needed}: put its Hugging Face folder there as {weights_dir / name}"


def is_embedded_id(embedder_model: str | None) -> bool:
    """True for the id of an encoder made by `anivoice train content`."""
    return embedder_model is not None and embedder_model.lower().startswith(EMBEDDED_ENCODER_PREFIX)


def check_choice(voice_name: str, own: str | None, chosen: str | None) -> None:
    """`own` is the encoder that the voice's file names, `chosen` the one of its settings file (None: not said).

    Raises InvalidModelFile if the settings pair a voice with an encoder of the other kind.
    """
    if chosen is None or is_embedded_id(own) == is_embedded_id(chosen):
        return
    raise InvalidModelFile(
        f"voice {voice_name!r} was made for the content encoder {own or DEFAULT_EMBEDDERS[0]!r}, and its features are "
        f"not those of {chosen!r}; take embedder_model out of {voice_name}.json"
    )


def check_pairing(voice_name: str, wanted: str | None, encoder_id: str | None, path: Path) -> None:
    """`wanted` is the voice's encoder, `encoder_id` what the encoder's file says it is (None: of ContentVec's kind).

    Raises InvalidModelFile that names both if they are not a pair.
    """
    if (wanted if is_embedded_id(wanted) else None) == encoder_id:
        return
    raise InvalidModelFile(
        f"voice {voice_name!r} was made for the content encoder {wanted or DEFAULT_EMBEDDERS[0]!r}, but {path.name} is "
        f"{encoder_id or 'an encoder of the kind of contentvec'!r}; use the encoder that the voice was made for"
    )
