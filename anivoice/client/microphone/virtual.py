"""A virtual microphone on Linux: a sink that nobody hears, and a source, with a name, that hears it.

It stays after a restart: PipeWire reads a file of its own for it, PulseAudio a few lines in the user's `default.pa`.
"""

import os
import re
import shlex
from pathlib import Path

from anivoice.client.microphone.pulse import pactl
from anivoice.errors import InvalidParameter

NAME = re.compile(r"[\w .+-]{1,40}", re.ASCII)
PULSE_START = ".include /etc/pulse/default.pa\n"


def sink_key(name: str) -> str:
    """The sink into which the changed voice is played."""
    return f"anivoice_{_slug(name)}"


def modules_of(name: str) -> list[str]:
    """The two modules of a virtual microphone, as PulseAudio and PipeWire take them. Raises InvalidParameter."""
    if not NAME.fullmatch(name):
        raise InvalidParameter("--virtual-mic: a name of at most 40 letters, digits, spaces and . + - _ is needed")
    sink, slug = sink_key(name), _slug(name)
    return [
        f"module-null-sink sink_name={sink} rate=48000 sink_properties=\"device.description='{name} (anivoice)'\"",
        f"module-remap-source source_name={slug} master={sink}.monitor "
        f"source_properties=\"device.description='{name}'\"",
    ]


def make_virtual_microphone(name: str) -> Path:
    """Makes it unless it is there, and writes it down for the next start; returns the file. Raises Unavailable."""
    modules = modules_of(name)
    present = {line.split("\t")[1] for kind in ("sinks", "sources") for line in _short(kind)}
    for module, key in zip(modules, (sink_key(name), _slug(name)), strict=True):
        if key not in present:
            pactl("load-module", *shlex.split(module, posix=False))
    return write_configuration(modules, name, is_pipewire="PipeWire" in pactl("info"))


def remove_virtual_microphone(name: str) -> Path:
    """Undoes it, now and for the next start; returns the file that was changed."""
    keys = (f"sink_name={sink_key(name)} ", f"source_name={_slug(name)} ")
    for line in reversed(_short("modules")):  # the source goes with its sink
        number, _, arguments = line.partition("\t")
        if any(key in f"{arguments} " for key in keys):
            pactl("unload-module", number)
    return write_configuration([], name, is_pipewire="PipeWire" in pactl("info"))


def write_configuration(modules: list[str], name: str, is_pipewire: bool) -> Path:
    """Of the user's own sound server; without modules it is taken out. Returns the file."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    if is_pipewire:
        path = home / "pipewire" / "pipewire-pulse.conf.d" / f"anivoice-{_slug(name)}.conf"
        lines = [f'    {{ cmd = "load-module" args = "{_escaped(module)}" flags = [ nofail ] }}' for module in modules]
        text = "\n".join(["pulse.cmd = [", *lines, "]", ""]) if modules else ""
    else:
        path = home / "pulse" / "default.pa"
        text = _without(path.read_text("utf-8") if path.is_file() else PULSE_START, name)
        if modules:
            text += "\n".join([_mark(name, "begins"), ".nofail", *_loads(modules), ".fail", _mark(name, "ends"), ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    if text and text != PULSE_START:
        path.write_text(text, "utf-8")
    else:
        path.unlink(missing_ok=True)
    return path


def _loads(modules: list[str]) -> list[str]:
    return [f"load-module {module}" for module in modules]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _mark(name: str, what: str) -> str:
    return f"# anivoice's microphone {_slug(name)} {what}"


def _without(text: str, name: str) -> str:
    pattern = re.escape(_mark(name, "begins")) + r"\n.*?" + re.escape(_mark(name, "ends")) + r"\n"
    return re.sub(pattern, "", text, flags=re.DOTALL)


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower() or "microphone"


def _short(kind: str) -> list[str]:
    return pactl("list", "short", kind).splitlines()
