"""Both languages say everything, and the page asks for nothing that is not there."""

import json
import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "anivoice" / "server" / "web"
OWN_FILES = [
    path for path in sorted(WEB.rglob("*.*")) if path.suffix in (".js", ".html") and "vendor" not in path.parts
]


def texts(language: str) -> dict[str, str]:
    return dict(json.loads((WEB / "texts" / f"{language}.json").read_text("utf-8")))


def test_languages_have_the_same_keys_and_places() -> None:
    english, german = texts("en"), texts("de")
    assert english.keys() == german.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", german[key])), key


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.name)
def test_named_texts_exist(path: Path) -> None:
    used = re.findall(
        r'(?:data-text|data-label)="([\w.]+)"|\bt\("([\w.]+)"|\b(?:tell|say)\("([\w.]+)"', path.read_text("utf-8")
    )
    assert {key for found in used for key in found if key} <= texts("en").keys()


@pytest.mark.parametrize("folder", sorted((WEB / "vendor").iterdir()), ids=lambda folder: folder.name)
def test_libraries_carry_their_licence_and_version(folder: Path) -> None:
    assert list(folder.glob("LICENSE*"))
    assert json.loads((folder / "package.json").read_text("utf-8"))["version"]
