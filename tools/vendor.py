"""Takes the libraries of the page from npm into anivoice/server/web/vendor, and axe-core into tests/vendor.

    python tools/vendor.py            # the versions written here
    npm outdated                      # what is newer is for a person to decide

Needs npm. Files are copied as they are published; the two changes that browsers need are written in `EDITS`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "anivoice" / "server" / "web" / "vendor"
TESTS = ROOT / "tests" / "vendor"


@dataclass(frozen=True)
class Library:
    """One package: `files` in it -> names here. `edits`: texts to replace, so that it is a module without a bundler."""

    name: str
    version: str
    files: dict[str, str]
    target: Path = PAGE
    edits: dict[str, str] = field(default_factory=dict)


NO_MAP = {"//# sourceMappingURL=index.mjs.map": ""}
LIBRARIES = (
    Library("ringbuf.js", "0.4.0", {"dist/index.mjs": "ringbuf.js"}, edits=NO_MAP),
    Library(
        "wavesurfer.js",
        "8.0.1",
        {"dist/wavesurfer.esm.js": "wavesurfer.js", "dist/plugins/spectrogram.esm.js": "spectrogram.js"},
    ),
    Library("pitchy", "4.1.0", {"index.js": "pitchy.js"}, edits={'from "fft.js"': 'from "../fft.js/fft.js"'}),
    Library("fft.js", "4.0.4", {"lib/fft.js": "fft.js"}, edits={"module.exports = FFT": "export default FFT"}),
    Library("axe-core", "4.14.1", {"axe.min.js": "axe.min.js"}, TESTS),
)


def main() -> int:
    """Fetches all; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = [f"{one.name}@{one.version}" for one in LIBRARIES]
        subprocess.run(["npm", "install", "--no-save", "--prefix", folder, *wanted], check=True)  # noqa: S603, S607
        for library in LIBRARIES:
            _copy(library, Path(folder) / "node_modules" / library.name)
    return 0


def _copy(library: Library, source: Path) -> None:
    target = library.target / library.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, new_name in library.files.items():
        text = (source / name).read_text("utf-8")
        for old, new in library.edits.items():
            text = text.replace(old, new)
        (target / new_name).write_text(text, "utf-8")
    for licence in source.glob("LICENSE*"):
        shutil.copyfile(licence, target / licence.name)
    if not any(target.glob("LICENSE*")):
        (target / "LICENSE").write_text((source / "README.md").read_text("utf-8").partition("LICENSE")[2], "utf-8")
    published = json.loads((source / "package.json").read_text("utf-8"))
    facts = {key: published[key] for key in ("name", "version", "license", "repository") if key in published}
    (target / "package.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    print(f"{library.name} {published['version']} ({published['license']})")


if __name__ == "__main__":
    sys.exit(main())
