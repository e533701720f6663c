"""What the doctor looks at on the machine: Python, packages, libraries, devices, memory, disk, port."""

import errno
import http.client
import importlib
import io
import os
import platform
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Sequence
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

from anivoice.commands.doctor.finding import Finding

MIN_PYTHON, MAX_PYTHON = (3, 11), (3, 13)
MIN_FREE_DISK_BYTES = 2**30
MIN_FREE_MEMORY_BYTES = 2 * 2**30
INSTALL_COMMAND = "python -m pip install -c constraints.txt ."
NATIVE_MODULES = ("faiss", "parselmouth", "pyworld", "soundfile", "soxr")
SHOWN_PACKAGES = ("torch", "numpy", "aiohttp", "faiss-cpu")
SOUND_FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}
CONNECT_TIMEOUT_S = 1.0
GREETING = b"AniVoiceChanger"


def check_python(version: tuple[int, int] | None = None) -> list[Finding]:
    major_minor = version or (sys.version_info.major, sys.version_info.minor)
    detail = f"Python {platform.python_version()} on {platform.platform(terse=True)}"
    if MIN_PYTHON <= major_minor <= MAX_PYTHON:
        return [Finding("python", "ok", detail)]
    return [Finding("python", "wrong", detail, "Install Python 3.11, 3.12 or 3.13.", is_essential=True)]


def needed_packages() -> list[str]:
    """Requirement lines of this installation, or of the checkout when it was never installed."""
    try:
        return metadata.requires("anivoice") or []
    except metadata.PackageNotFoundError:
        parser = ConfigParser(interpolation=None)
        parser.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
        return parser.get("options", "install_requires", fallback="").strip().splitlines()


def check_packages(requirements: Sequence[str]) -> list[Finding]:
    """A finding for each package that is missing or of a wrong version, and a summary of the others."""
    if not requirements:
        return [Finding("packages", "wrong", "this copy of anivoice does not say what it needs", INSTALL_COMMAND)]
    findings, num_fitting = list[Finding](), 0
    for line in requirements:
        finding = _check_requirement(line)
        if finding is None:
            num_fitting += 1
        elif finding.status != "ok":
            findings.append(finding)
    shown = ", ".join(f"{name} {version}" for name in SHOWN_PACKAGES if (version := _installed_version(name)))
    return [Finding("packages", "ok", f"{num_fitting} have a fitting version ({shown})"), *findings]


def _check_requirement(line: str) -> Finding | None:
    """None if it is met; a finding with status "ok" if it does not apply here."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    name = f"package {requirement.name}"
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return Finding(name, "ok", "not needed here")
    version = _installed_version(requirement.name)
    if version is None:
        return Finding(name, "missing", f"needed: {requirement}", INSTALL_COMMAND, is_essential=True)
    if not requirement.specifier.contains(version, prereleases=True):
        detail = f"{version} is installed, needed: {requirement}"
        return Finding(name, "wrong", detail, INSTALL_COMMAND, is_essential=True)
    return None


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_native_modules(names: Sequence[str] = NATIVE_MODULES) -> list[Finding]:
    """Whether what brings its own machine code can be imported: a version alone does not tell."""
    failed = [finding for name in names if (finding := _import_problem(name)) is not None]
    return failed or [Finding("libraries", "ok", f"{', '.join(names)} can be imported")]


def _import_problem(name: str) -> Finding | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    except (ImportError, OSError, AttributeError) as error:
        detail = f"cannot be imported: {error}"
        return Finding(f"library {name}", "wrong", detail, INSTALL_COMMAND, is_essential=True)
    return None


def check_event_loop() -> list[Finding]:
    name = "winloop" if sys.platform == "win32" else "uvloop"
    if _import_problem(name) is None:
        return [Finding("event loop", "ok", f"{name} {_installed_version(name)}")]
    return [Finding("event loop", "missing", f"{name} is not usable; asyncio's own loop", INSTALL_COMMAND)]


def check_sound_formats() -> list[Finding]:
    """Writes and reads a tenth of a second in each format, as the server does."""
    import soundfile

    failed = [name for name, (container, subtype) in SOUND_FORMATS.items() if not _round_trips(container, subtype)]
    detail = f"libsndfile {soundfile.__libsndfile_version__}"
    if not failed:
        return [Finding("sound formats", "ok", f"{detail}: {', '.join(SOUND_FORMATS)} in and out")]
    remedy = "python -m pip install --upgrade soundfile"
    is_essential = "wav" in failed
    return [Finding("sound formats", "missing", f"{detail} lacks {', '.join(failed)}", remedy, is_essential)]


def _round_trips(container: str, subtype: str | None) -> bool:
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, np.zeros(4800, dtype=np.float32), 48000, format=container, subtype=subtype)
        buffer.seek(0)
        samples, _ = soundfile.read(buffer, dtype="float32")
    except (ValueError, RuntimeError, TypeError):
        return False
    return len(samples) >= 4800


def check_devices(gpu_index: int | None, force: str | None) -> list[Finding]:
    """Each device with its memory and a trial, and the one that the server would take."""
    from anivoice.engine.devices import DeviceInfo, choose_device, describe_devices
    from anivoice.errors import InvalidParameter

    def describe(info: DeviceInfo) -> Finding:
        sizes = [f"{size / 2**30:.1f} GiB {word}" for size, word in _memory_of(info.total_bytes, info.free_bytes)]
        detail = ", ".join([info.description, *sizes])
        if info.problem is None:
            return Finding(f"device {info.name}", "ok", detail)
        remedy = "Install a torch build and a driver for this GPU, or run with --device cpu."
        return Finding(f"device {info.name}", "wrong", f"{detail}; {info.problem}", remedy)

    devices = {info.name: info for info in describe_devices()}
    findings = [describe(info) for info in devices.values()] + _check_unused_gpu(list(devices))
    try:
        chosen = str(choose_device(gpu_index, force))
    except InvalidParameter as error:
        return [*findings, Finding("device", "wrong", str(error), "Set --device and GPU_INDEX.", is_essential=True)]
    if devices[chosen].problem is not None:
        return [*findings, Finding("device", "wrong", f"{chosen} does not work", "--device cpu", is_essential=True)]
    return [*findings, Finding("device", "ok", f"the server computes on {chosen}")]


def _memory_of(total_bytes: int | None, free_bytes: int | None) -> list[tuple[int, str]]:
    return [(size, word) for size, word in ((total_bytes, "memory"), (free_bytes, "free")) if size is not None]


def _check_unused_gpu(names: list[str]) -> list[Finding]:
    if any(name.startswith("cuda") for name in names) or shutil.which("nvidia-smi") is None:
        return []
    detail = "an NVIDIA driver is installed, but torch finds no CUDA device: the GPU is not used"
    return [Finding("gpu", "slow", detail, "Install the CUDA build of torch (see the README), and check nvidia-smi.")]


def check_memory(available_bytes: int | None = None) -> list[Finding]:
    if available_bytes is None:
        import psutil

        available_bytes = psutil.virtual_memory().available
    detail = f"{available_bytes / 2**30:.1f} GiB of memory are free"
    if available_bytes >= MIN_FREE_MEMORY_BYTES:
        return [Finding("memory", "ok", detail)]
    return [Finding("memory", "slow", detail, "Close other programs: the networks and a voice need about 2 GiB.")]


def check_disk(weights_dir: Path) -> list[Finding]:
    """Room for voices where they lie, and for uploads where temporary files go."""
    folders = {"disk of weights": _existing_folder(weights_dir), "disk of uploads": Path(tempfile.gettempdir())}
    return [_check_free_space(name, folder) for name, folder in folders.items()]


def _check_free_space(name: str, folder: Path) -> Finding:
    num_free_bytes = shutil.disk_usage(folder).free
    detail = f"{num_free_bytes / 2**30:.1f} GiB are free in {folder}"
    if num_free_bytes >= MIN_FREE_DISK_BYTES:
        return Finding(name, "ok", detail)
    return Finding(name, "wrong", detail, "Make room: one GiB should be free.")


def _existing_folder(path: Path) -> Path:
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.is_dir())


def check_port(host: str, port: int) -> list[Finding]:
    """Whether the server could listen there, or already does."""
    where = f"{host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            if os.name == "posix":
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except socket.gaierror as error:
        return [Finding("port", "wrong", f"{host} is no address ({error})", "--host 127.0.0.1", is_essential=True)]
    except OSError as error:
        return [_explain_taken_port(host, port, error)]
    return [Finding("port", "ok", f"{where} is free" if port else "any free port")]


def _explain_taken_port(host: str, port: int, error: OSError) -> Finding:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE and _is_anivoice(host, port):
        return Finding("port", "ok", f"anivoice is already running at {where}")
    if error.errno == errno.EADDRINUSE:
        return Finding("port", "wrong", f"another program uses {where}", f"--port {port + 1}", is_essential=True)
    return Finding("port", "wrong", f"{where} cannot be used: {error}", "--host 127.0.0.1 --port 8000", True)


def _is_anivoice(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(
        {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host),  # noqa: S104  # addresses to listen on, not to call
        port,
        timeout=CONNECT_TIMEOUT_S,
    )
    try:
        connection.request("GET", "/", headers={"Accept": "application/json"})
        return GREETING in connection.getresponse().read(1000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
