"""Puts the voice in the box into the package that is built: `weights/anivoice-*` becomes `anivoice/box`.

What the package is: setup.cfg. An editable installation finds the files where they lie.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WEIGHTS = Path(__file__).resolve().parent / "weights"


class BuildWithVoice(build_py):
    """As ever, and the voice."""

    def run(self) -> None:
        """Raises OSError."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        box = Path(self.build_lib) / "anivoice" / "box"
        box.mkdir(parents=True, exist_ok=True)
        for path in WEIGHTS.glob("anivoice-*"):
            shutil.copyfile(path, box / path.name)


setup(cmdclass={"build_py": BuildWithVoice})
