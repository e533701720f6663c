"""The shared networks: which there are, where they are published, and where the server looks for them in `weights/`.

The SHA-256 sums are those that RVC-WebUI publishes for its own files (its `sha256.env`) and, for ContentVec, the sum
of the repository's LFS record. A file without one is checked against the sum that the service reports for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anivoice.errors import NotFound
from anivoice.stages.pitch.methods import PITCH_METHODS

RVC_REPOSITORY = "lj1995/VoiceConversionWebUI"
CONTENTVEC_REPOSITORY = "lengyue233/content-vec-best"

CONTENT_ENCODER_PLACES = (
    "contentvec",
    "hubert_base.pt",
    "hubert_base.safetensors",
    "content_encoder.safetensors",
    "content_encoder",
    "hubert_base",
)
EMBEDDED_VOICE = "anivoice-slt"
"""The voice that may come with the program; any voice of the user's goes before it."""

EMBEDDED_ENCODER_PREFIX = "anivoice-content"
"""How the ids, and so the files, of encoders made by `anivoice train content` begin."""

SHARED_FILE_STEMS = frozenset(
    {"hubert_base", "content_encoder", "contentvec", "content-vec-best", "content_vec_best", "rmvpe", "fcpe", "crepe"}
)
"""Stems in `weights/` that are no voices; names that only begin with one of them: see `is_shared_file`."""
SHARED_FILE_PREFIXES = ("contentvec", "content-vec", "content_vec", "hubert_base", EMBEDDED_ENCODER_PREFIX)

BASE_GENERATOR_SHA256 = {
    "v1/G32k": "81817645cde7ed2e2d83f23ef883f33dda564924b497e84d792743912eca4c23",
    "v1/G40k": "e428573bda1124b0ae0ae843fd8dcded6027d3993444790b3e9b0100938b2113",
    "v1/G48k": "3862a67ea6313e8ffefc05cee6bee656ef3e089442e9ecf4a6618d60721f3e95",
    "v1/f0G32k": "285f524bf48bb692c76ad7bd0bc654c12bd9e5edeb784dddf7f61a789a608574",
    "v1/f0G40k": "9115654aeef1995f7dd3c6fc4140bebbef0ca9760bed798105a2380a34299831",
    "v1/f0G48k": "78bc9cab27e34bcfc194f93029374d871d8b3e663ddedea32a9709e894cc8fe8",
    "v2/G32k": "869b26a47f75168d6126f64ac39e6de5247017a8658cfd68aca600f7323efb9f",
    "v2/G40k": "a3843da7fde33db1dab176146c70d6c2df06eafe9457f4e3aa10024e9c6a4b69",
    "v2/G48k": "2e2b1581a436d07a76b10b9d38765f64aa02836dc65c7dee1ce4140c11ea158b",
    "v2/f0G32k": "2332611297b8d88c7436de8f17ef5f07a2119353e962cd93cda5806d59a1133d",
    "v2/f0G40k": "3b2c44035e782c4b14ddc0bede9e2f4a724d025cd073f736d4f43708453adfcb",
    "v2/f0G48k": "b5d51f589cc3632d4eae36a315b4179397695042edc01d15312e1bddc2b764a4",
}
REMOTE_FOLDER_OF_VERSION = {"v1": "pretrained", "v2": "pretrained_v2"}


@dataclass(frozen=True)
class AssetFile:
    """One published file: `remote_path` in the Hugging Face `repository`, `local_path` under `weights/` (with `/`).

    `sha256` (hex) and `num_bytes` are None where they are not known for certain.
    """

    repository: str
    remote_path: str
    local_path: str
    sha256: str | None = None
    num_bytes: int | None = None

    def path_in(self, weights_dir: Path) -> Path:
        return weights_dir / self.local_path


@dataclass(frozen=True)
class Asset:
    """What `anivoice fetch NAME` gets. Names with a slash form groups: `base` means every `base/...`."""

    name: str
    purpose: str
    files: tuple[AssetFile, ...]


def _base_generator(key: str, sha256: str) -> Asset:
    version, stem = key.split("/")
    remote_path = f"{REMOTE_FOLDER_OF_VERSION[version]}/{stem}.pth"
    pitch = "with f0" if stem.startswith("f0") else "without f0"
    purpose = f"base generator {version} {stem[-3:]} {pitch}, the start of a training"
    return Asset(f"base/{key}", purpose, (AssetFile(RVC_REPOSITORY, remote_path, f"base/{key}.pth", sha256),))


CATALOGUE = (
    Asset(
        "contentvec",
        "content encoder, needed by every voice",
        (
            AssetFile(CONTENTVEC_REPOSITORY, "config.json", "contentvec/config.json"),
            AssetFile(
                CONTENTVEC_REPOSITORY,
                "pytorch_model.bin",
                "contentvec/pytorch_model.bin",
                "d8dd400e054ddf4e6be75dab5a2549db748cc99e756a097c496c099f65a4854e",
                378_342_945,
            ),
        ),
    ),
    Asset(
        "hubert_base",
        "the same content encoder as a fairseq file, instead of contentvec",
        (
            AssetFile(
                RVC_REPOSITORY,
                "hubert_base.pt",
                "hubert_base.pt",
                "f54b40fd2802423a5643779c4861af1e9ee9c1564dc9d32f54f20b5ffba7db96",
                189_507_909,
            ),
        ),
    ),
    Asset(
        "rmvpe",
        "the pitch method rmvpe, the default where present",
        (
            AssetFile(
                RVC_REPOSITORY,
                "rmvpe.pt",
                "rmvpe.pt",
                "6d62215f4306e3ca278246188607209f09af3dc77ed4232efdd069798c4ec193",
                181_184_272,
            ),
        ),
    ),
    *(_base_generator(key, sha256) for key, sha256 in BASE_GENERATOR_SHA256.items()),
)
DEFAULT_ASSET_NAMES = ("contentvec", "rmvpe")


def select_assets(names: Sequence[str], catalogue: Sequence[Asset] = CATALOGUE) -> list[Asset]:
    """The assets that `names` mean, in the catalogue's order. `base` and `base/v2` are groups.

    Raises NotFound when a name means nothing, with the names there are.
    """
    for name in names:
        if not any(_means(name, asset) for asset in catalogue):
            known = ", ".join(asset.name for asset in catalogue)
            raise NotFound(
                f"There is no asset '{name}'. There are: {known}; a group such as 'base' means all below it."
            )
    return [asset for asset in catalogue if any(_means(name, asset) for name in names)]


def _means(name: str, asset: Asset) -> bool:
    return asset.name == name or asset.name.startswith(name.rstrip("/") + "/")


def find_content_encoder(weights_dir: Path) -> Path | None:
    """The content encoder's file or Hugging Face directory in `weights_dir`, the first of CONTENT_ENCODER_PLACES."""
    places = (weights_dir / place for place in CONTENT_ENCODER_PLACES)
    return next((place for place in places if place.is_file() or is_encoder_directory(place)), None)


def find_rmvpe(weights_dir: Path) -> Path | None:
    """The file of the pitch network rmvpe in `weights_dir`."""
    return next(
        (weights_dir / place for place in PITCH_METHODS["rmvpe"].weights_files if (weights_dir / place).is_file()), None
    )


def is_shared_file(path: Path) -> bool:
    """True if a file or folder in `weights/` is a shared network and no voice, by its name."""
    stem = path.stem.lower()
    return stem in SHARED_FILE_STEMS or stem.startswith(SHARED_FILE_PREFIXES)


def is_encoder_directory(path: Path) -> bool:
    """True for a Hugging Face folder of a content encoder."""
    has_weights = any((path / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))
    return has_weights and (path / "config.json").is_file()
