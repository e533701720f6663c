"""Files that a training leaves behind: checkpoints that are whole or not there, and a log of one line per report."""

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from anivoice.errors import InvalidModelFile


def save_atomically(path: Path, content: Mapping[str, object]) -> None:
    """`torch.save` under another name first: an interrupted run leaves the last whole checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(dict(content), unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_training_file(path: Path, device: torch.device) -> dict[str, object]:
    """What `save_atomically` wrote. Nothing in the file is executed. Raises InvalidModelFile."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise InvalidModelFile(f"{path} is no checkpoint of a training that can be continued: {error}") from error
    if not isinstance(content, dict):
        raise InvalidModelFile(f"{path} is no checkpoint of a training: it holds a {type(content).__name__}")
    return content


def append_line(path: Path, values: Mapping[str, object]) -> None:
    """One JSON object on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")
