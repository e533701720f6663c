"""`anivoice fetch`: gets the shared networks from Hugging Face, or says where to put them by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from anivoice.errors import NotFound
from anivoice.voices.assets import CATALOGUE, DEFAULT_ASSET_NAMES, Asset, AssetFile, select_assets
from anivoice.voices.download import Downloader, FetchError, FetchStatus, ServiceUnreachable, is_published_file


def run_fetch(
    names: Sequence[str],
    weights_dir: Path,
    force: bool,
    list_only: bool,
    out: TextIO,
    *,
    catalogue: Sequence[Asset] = CATALOGUE,
    endpoint: str | None = None,
) -> int:
    """Fetches the assets `names` (default: what the server needs) into `weights_dir`; returns a FetchStatus.

    `force` fetches what is present anew; `list_only` prints the catalogue instead. `endpoint` is the service's
    address, default HF_ENDPOINT or huggingface.co. Messages go to `out`, the progress bar to stderr.
    """
    try:
        assets = select_assets(names or ([] if list_only else DEFAULT_ASSET_NAMES), catalogue)
    except NotFound as error:
        print(error, file=out)
        return FetchStatus.UNKNOWN_NAME
    if list_only:
        print(format_catalogue(assets or catalogue, weights_dir), file=out)
        return FetchStatus.OK
    files = [file for asset in assets for file in asset.files]
    return _fetch_all(files, weights_dir, force, out, Downloader(endpoint))


def _fetch_all(
    files: Sequence[AssetFile], weights_dir: Path, force: bool, out: TextIO, downloader: Downloader
) -> FetchStatus:
    """The first failure's status. Other files are fetched all the same, unless the service cannot be reached."""
    status = FetchStatus.OK
    for index, file in enumerate(files):
        try:
            print(_fetch_one(file, file.path_in(weights_dir), force, downloader), file=out)
        except ServiceUnreachable as error:
            wanted = [file for file in files[index:] if force or not file.path_in(weights_dir).exists()]
            print(by_hand_message(str(error), wanted, weights_dir, downloader), file=out)
            return status or error.status
        except FetchError as error:
            print(error, file=out)
            status = status or error.status
    return status


def _fetch_one(file: AssetFile, destination: Path, force: bool, downloader: Downloader) -> str:
    """What was done. A file that is there is never replaced without `force`: it may be the user's own."""
    if not force and destination.exists():
        if is_published_file(destination, file):
            return f"{destination}: present"
        raise FetchError(
            f"{destination} is not the published file: it is damaged, or your own. It was left as it is; "
            "the option --force fetches the published one in its place.",
            FetchStatus.WRONG_CHECKSUM,
        )
    if not force and downloader.copy_from_cache(file, destination):
        return f"{destination}: copied from the Hugging Face cache of this machine"
    downloader.download(file, destination)
    return f"{destination}: fetched, its checksum is right"


def by_hand_message(reason: str, files: Sequence[AssetFile], weights_dir: Path, downloader: Downloader) -> str:
    """What to copy from where to where when this machine cannot fetch."""
    lines = [f"Offline: {reason}.", "Get what is missing on another machine and put it here by hand:"]
    for file in files:
        size = f" ({file.num_bytes / 1e6:.0f} MB)" if file.num_bytes else ""
        lines += [f"  {file.remote_path}{size} of the repository {file.repository}"]
        lines += [f"    from    {downloader.url_of(file)}"]
        lines += [f"    to      {file.path_in(weights_dir).absolute()}"]
        lines += [f"    sha256  {file.sha256}"] if file.sha256 else []
    return "\n".join(lines)


def format_catalogue(assets: Sequence[Asset], weights_dir: Path) -> str:
    """One line for each asset: name, state, purpose."""
    rows = [(asset.name, asset_state(asset, weights_dir), asset.purpose) for asset in assets]
    name_width = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:{name_width}}  {state:10}  {purpose}" for name, state, purpose in rows]
    return "\n".join([f"Shared networks, and their state in {weights_dir}:", *lines])


def asset_state(asset: Asset, weights_dir: Path) -> str:
    """present, missing, incomplete or damaged; by names and sizes only, since the checksums of all take seconds."""
    paths = [(file, file.path_in(weights_dir)) for file in asset.files]
    num_present = sum(path.is_file() for _, path in paths)
    if num_present == 0:
        return "missing"
    if num_present < len(paths):
        return "incomplete"
    sizes = [(file.num_bytes, path.stat().st_size) for file, path in paths]
    return "present" if all(size > 0 and expected in (None, size) for expected, size in sizes) else "damaged"
