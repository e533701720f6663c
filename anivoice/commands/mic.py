"""`anivoice mic`: a microphone through a server to an output, until it is ended."""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TextIO

from anivoice.client.microphone.controls import HELP, Controls
from anivoice.client.microphone.devices import AudioSystem
from anivoice.client.microphone.keys import keys_pressed
from anivoice.client.microphone.microphone import Choice, Microphone
from anivoice.client.microphone.sound_system import find_sound_system
from anivoice.client.microphone.status import status_line, status_of
from anivoice.client.microphone.virtual import make_virtual_microphone, remove_virtual_microphone, sink_key
from anivoice.config import Settings, load_default_parameters
from anivoice.errors import InvalidParameter

STATUS_S = 1.0
DEFAULT_URL = "http://127.0.0.1:8000"


def run_mic(arguments: argparse.Namespace, settings: Settings, parameters: Mapping[str, object]) -> int:
    """Returns the exit code 0. Raises InvalidParameter and what cannot be mended by waiting."""
    if arguments.remove_virtual_mic is not None:
        print(f"removed; changed {remove_virtual_microphone(_on_linux(arguments.remove_virtual_mic))}")
        return 0
    choice = Choice(arguments.input, arguments.output, arguments.monitor)
    if arguments.virtual_mic is not None:
        name = _on_linux(arguments.virtual_mic)
        print(f"microphone {name!r} is there, and will be: {make_virtual_microphone(name)}", file=sys.stderr)
        choice = replace(choice, output=choice.output or sink_key(name))
    system = find_sound_system()
    if arguments.list_devices:
        list_devices(system, sys.stdout)
        return 0
    with _server(arguments, settings) as base_url:
        key = None if arguments.serve else settings.api_key
        asyncio.run(_run(system, base_url, key, parameters, choice, arguments))
    return 0


def list_devices(system: AudioSystem, out: TextIO) -> None:
    """Inputs and outputs, the system's default ones with a star."""
    for title, devices in (("Inputs", system.devices("input")), ("Outputs", system.devices("output"))):
        print(f"{title}:", file=out)
        for device in devices:
            print(f"  {'*' if device.is_default else ' '} {device.name}", file=out)


def _on_linux(name: str) -> str:
    if sys.platform != "linux":
        raise InvalidParameter("--virtual-mic: only Linux can make one by itself; see docs/microphone.md for a cable")
    return name


def _server(arguments: argparse.Namespace, settings: Settings) -> AbstractContextManager[str]:
    if not arguments.serve:
        return nullcontext(arguments.url or DEFAULT_URL)
    if arguments.url is not None:
        raise InvalidParameter("--serve: starts a server here; leave --url out")
    from anivoice.server.background import BackgroundServer

    return BackgroundServer(settings, load_default_parameters()).at_url()


async def _run(
    system: AudioSystem,
    base_url: str,
    api_key: str | None,
    parameters: Mapping[str, object],
    choice: Choice,
    arguments: argparse.Namespace,
) -> None:
    microphone = Microphone(system, base_url, api_key, {**parameters, "mode": "live"}, choice)
    ended = asyncio.Event()
    controls = Controls(microphone, arguments.push_to_talk, ended.set)
    if sys.stdin.isatty() and not arguments.json:
        print(HELP, file=sys.stderr)
    tasks = [asyncio.create_task(microphone.run()), asyncio.create_task(ended.wait())]
    tasks.append(asyncio.create_task(_tell(microphone, arguments.json, arguments.quiet)))
    try:
        with keys_pressed(controls.press):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(microphone: Microphone, is_json: bool, is_quiet: bool) -> None:
    """Writes over the same line of a terminal; elsewhere what changes in words."""
    before = ""
    while True:
        await asyncio.sleep(STATUS_S)
        status = status_of(microphone)
        if is_json:
            print(json.dumps(status), flush=True)
        elif sys.stderr.isatty() and not is_quiet:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{status_line(status)[:width]}", end="", file=sys.stderr, flush=True)
        elif (told := f"{status['state']} {'; '.join(microphone.trouble.values())}") != before:
            before = told
            print(status_line(status), file=sys.stderr, flush=True)
