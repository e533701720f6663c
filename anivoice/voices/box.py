"""The voice in the box, and the user's own folder of voices: where there is no `weights/`, that folder is used."""

import filecmp
import os
import shutil
from pathlib import Path

WEIGHTS_DIR = Path("weights")
PACKAGE = Path(__file__).resolve().parents[1]
BOX_PLACES = (PACKAGE / "box", PACKAGE.parent / "weights")
"""In an installed package, and in a clone."""


def user_weights_dir() -> Path:
    """Where voices lie that are there for all folders: on Linux ~/.local/share/anivoice/weights."""
    from platformdirs import user_data_path

    return user_data_path("anivoice", appauthor=False) / "weights"


def box_files() -> list[Path]:
    """The files of the voice and of its content encoder, sorted; none where the package came without them."""
    place = next((place for place in BOX_PLACES if place.is_dir()), None)
    return [] if place is None else sorted(place.glob("anivoice-*"))


def unpack_box(folder: Path) -> None:
    """Puts the voice in the box into `folder`, made if need be; what an older version put there is renewed.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in box_files():
        target = folder / source.name
        if not target.is_file() or not filecmp.cmp(source, target, shallow=False):
            unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
            shutil.copyfile(source, unfinished)
            unfinished.replace(target)
