"""How large the house is, and what one live block passes on its way: `python tools/house.py [--static]`.

The walk starts a server in this process with the voice in the box, sends ten blocks as a client would, and counts what
the eleventh passes, on all threads: every call of a function of the package and every resumption of a generator.
"""

import argparse
import ast
import asyncio
import statistics
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "anivoice"
RATE_HZ = 48000
BLOCK_MS = 160
BLOCKS_BEFORE = 10
SPEECH_SECONDS = 4.0
ROOMS_ON_THE_WAY = ("engine", "live", "server")
"""Between the wire and the networks."""


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--static", action="store_true", help="only what can be read off the files")
    static_only = parser.parse_args().static
    for name, value in static_figures().items():
        print(f"{name}: {value}")
    if not static_only:
        for name, number in walk_of_a_block().items():
            print(f"{name} that a live block passes: {number}")


def static_figures() -> dict[str, object]:
    """What the source files show."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    between = [path for path in trees if path.relative_to(PACKAGE).parts[0] in ROOMS_ON_THE_WAY]
    networks = [path for path in trees if path.relative_to(PACKAGE).parts[0] in ("models", "stages")]
    return {
        "modules at the top": sum(p.parent == PACKAGE and not p.name.startswith("__") for p in trees),
        "files between wire and network": sum(p.name != "__init__.py" for p in between),
        "classes between wire and network": sum(_count(trees[p], ast.ClassDef) for p in between),
        "yields in models/ and stages/": sum(_count(trees[p], ast.Yield, ast.YieldFrom) for p in networks),
        "yield from": sum(_count(tree, ast.YieldFrom) for tree in trees.values()),
        "lines of a function, median / p90 / most": _spread(list(_function_lengths(trees.values()))),
        "lines of a file, median / p90 / most": _spread(
            [len(path.read_text("utf-8").splitlines()) for path in trees if path.name != "__init__.py"]
        ),
    }


def _count(tree: ast.AST, *kinds: type[ast.AST]) -> int:
    return sum(isinstance(node, kinds) for node in ast.walk(tree))


def _function_lengths(trees: Iterable[ast.AST]) -> Iterator[int]:
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1


def _spread(values: list[int]) -> str:
    p90 = statistics.quantiles(values, n=10, method="inclusive")[-1]
    return f"{statistics.median(values):.0f} / {p90:.0f} / {max(values)}"


class Walk:
    """A profile function that notes what of the package is called while `is_noting`."""

    def __init__(self) -> None:
        self.is_noting = False
        self.functions: set[tuple[str, str]] = set()
        self.classes: set[str] = set()
        self.num_calls = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if not self.is_noting or event != "call" or not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return
        self.num_calls += 1
        self.functions.add((frame.f_code.co_filename, frame.f_code.co_qualname))
        names = frame.f_code.co_varnames
        owner = type(frame.f_locals[names[0]]) if names[:1] == ("self",) and "self" in frame.f_locals else None
        if owner is not None and owner.__module__.startswith("anivoice."):
            self.classes.add(f"{owner.__module__}.{owner.__qualname__}")

    def figures(self) -> dict[str, int]:
        """By what is counted."""
        files = {file for file, _ in self.functions}
        return {
            "files": len(files),
            "functions": len(self.functions),
            "classes": len(self.classes),
            "calls and resumptions": self.num_calls,
        }


def walk_of_a_block() -> dict[str, int]:
    """What the eleventh block of a stream of the voice in the box passes."""
    sys.path.insert(0, str(ROOT))
    from anivoice.config import Settings
    from anivoice.parameters import ConversionParameters
    from anivoice.process import configure_process

    configure_process()
    walk = Walk()
    threading.setprofile(walk)
    from anivoice.server.background import BackgroundServer

    settings = Settings(_env_file=None, weights_dir=ROOT / "weights", device="cpu")
    with BackgroundServer(settings, ConversionParameters()) as server:
        asyncio.run(_speak(server.base_url, walk))
    return walk.figures()


async def _speak(base_url: str, walk: Walk) -> None:
    from anivoice.bench.synthetic import synthetic_speech
    from anivoice.client.stream_client import StreamClient

    speech = synthetic_speech(SPEECH_SECONDS, RATE_HZ)
    values = {"pitch_extraction_algo": "fcpe", "mode": "reliable", "sample_rate": RATE_HZ, "block_ms": BLOCK_MS}
    block = RATE_HZ * BLOCK_MS // 1000
    async with StreamClient.connect(base_url, values) as stream:
        for number in range(BLOCKS_BEFORE + 1):
            walk.is_noting = number == BLOCKS_BEFORE
            await stream.send((speech[number * block : (number + 1) * block] * 32767).astype("<i2").tobytes())
            await stream.receive()
            await asyncio.sleep(0.2)
        walk.is_noting = False


if __name__ == "__main__":
    main()
