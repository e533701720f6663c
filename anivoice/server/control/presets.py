"""Named set-ups, kept in a file: what a scene or a button of a Stream Deck sets."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anivoice.errors import InvalidParameter, InvalidRequest, NotFound, Unavailable
from anivoice.live.parameters import StreamParameters
from anivoice.server.control.sessions import check_values

Presets = dict[str, dict[str, Any]]

MAX_PRESETS = 500
MAX_NAME_CHARS = 64


class PresetStore:
    """Reads the file once, and writes it whole at every change. For any thread: it waits for the disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changing = threading.Lock()
        self._presets: Presets | None = None

    def all(self) -> Presets:
        """By name, sorted. Raises Unavailable if the file cannot be read."""
        if self._presets is None:
            self._presets = self._read()
        return dict(sorted(self._presets.items()))

    def find(self, name: str) -> dict[str, Any]:
        """Raises NotFound, which lists the known ones."""
        presets = self.all()
        if name not in presets:
            known = ", ".join(presets) or "none; PUT /presets/NAME makes one"
            raise NotFound(f"there is no set-up {name[:MAX_NAME_CHARS]!r}; known are: {known}")
        return presets[name]

    def put(self, name: str, values: Mapping[str, Any]) -> None:
        """Raises InvalidRequest for a name, InvalidParameter for values that cannot be applied."""
        check_name(name)
        check_values(values)
        if not values:
            raise InvalidParameter('a set-up needs at least one parameter, such as {"pitch_change": 12}')
        StreamParameters.parse(values)
        with self._changing:
            presets = self.all()
            if name not in presets and len(presets) >= MAX_PRESETS:
                raise InvalidRequest(f"there are already {MAX_PRESETS} set-ups; delete one first")
            self._write({**presets, name: dict(values)})

    def delete(self, name: str) -> None:
        """Raises NotFound."""
        with self._changing:
            self.find(name)
            self._write({key: values for key, values in self.all().items() if key != name})

    def _read(self) -> Presets:
        try:
            found = json.loads(self._file.read_text("utf-8"))
            if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
                raise ValueError("it is no object of objects")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Unavailable(f"the file of set-ups, {self._file.name}, cannot be read ({error}); mend it") from error
        return found

    def _write(self, presets: Presets) -> None:
        """A crash leaves the old file or the new one."""
        text = json.dumps(presets, indent=2, ensure_ascii=False)
        beside = self._file.with_name(f".{self._file.name}.new")
        try:
            beside.write_text(text + "\n", "utf-8")
            beside.replace(self._file)
        except OSError as error:
            raise Unavailable(f"the set-ups cannot be written ({error.strerror})") from error
        self._presets = presets


def check_name(name: str) -> None:
    """Raises InvalidRequest."""
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable() or "/" in name:
        raise InvalidRequest(
            f"a set-up's name has 1 to {MAX_NAME_CHARS} characters, all of them printable, and no slash"
        )
