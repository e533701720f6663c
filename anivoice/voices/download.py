"""Fetching one published file from Hugging Face so that only a whole file with the right checksum gets its name.

huggingface-hub does the talking (mirror by HF_ENDPOINT, tokens, HF_HUB_OFFLINE, retries, progress). The file handling
is ours, because its own keeps nothing of a broken download from one run to the next: bytes go to a hidden `.part`
file beside the destination, and the next run goes on from there.
"""

import hashlib
import shutil
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from anivoice.errors import AnivoiceError
from anivoice.voices.assets import AssetFile

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.errors import HfHubHTTPError

METADATA_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 1.0
HASH_BLOCK_BYTES = 1 << 20
MAX_CONNECTIONS = 3
NUM_SHA256_DIGITS = 64
NUM_GIT_SHA1_DIGITS = 40
NUM_DIGITS_IN_PART_NAME = 16


class FetchStatus(IntEnum):
    """Exit code of `anivoice fetch`."""

    OK = 0
    FAILED = 1
    UNKNOWN_NAME = 2
    OFFLINE = 3
    WRONG_CHECKSUM = 4
    REFUSED = 5


class FetchError(AnivoiceError):
    """A file could not be fetched. `status` is the exit code."""

    def __init__(self, message: str, status: FetchStatus = FetchStatus.FAILED) -> None:
        super().__init__(message)
        self.status = status


class ServiceUnreachable(FetchError):
    """Offline by choice or by accident: nothing can be fetched from this service now."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, FetchStatus.OFFLINE)


@dataclass(frozen=True)
class Checksum:
    """`algorithm` is "sha256" of the content, or "git-sha1" of the git blob (what the Hub reports for small files)."""

    algorithm: str
    hex_digest: str

    def matches(self, path: Path) -> bool:
        return _hex_digest(path, self.algorithm) == self.hex_digest


class Downloader:
    """Puts published files in place. `endpoint` is the service's address, default HF_ENDPOINT or huggingface.co."""

    def __init__(self, endpoint: str | None = None) -> None:
        from huggingface_hub import constants

        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")

    def url_of(self, file: AssetFile, revision: str = "main") -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(file.repository, file.remote_path, revision=revision, endpoint=self.endpoint)

    def copy_from_cache(self, file: AssetFile, destination: Path) -> bool:
        """Takes the file from Hugging Face's own cache on this machine, where another program may have put it.

        False if it is not there, or is not the known file.
        """
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(file.repository, file.remote_path)
        if not isinstance(cached, str) or not is_published_file(Path(cached), file):
            return False
        part = destination.with_name(f".{destination.name}.cache.part")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached, part)
            part.replace(destination)
        except OSError as error:
            raise FetchError(f"{destination} could not be written: {error}.") from error
        return True

    def download(self, file: AssetFile, destination: Path) -> None:
        """Replaces `destination` by the published file.

        Raises FetchError, or ServiceUnreachable when no file of this service can be had now.
        """
        metadata = self._read_metadata(file)
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            self._download_locked(file, metadata, destination)
        except OSError as error:
            raise FetchError(f"{destination} could not be written: {error}.") from error

    def _download_locked(self, file: AssetFile, metadata: "HfFileMetadata", destination: Path) -> None:
        from filelock import Timeout
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported by a computed __all__

        lock_path = destination.with_name(f".{destination.name}.lock")
        try:
            with WeakFileLock(lock_path, timeout=LOCK_TIMEOUT_S):
                try:
                    self._download_checked(file, metadata, destination)
                finally:
                    with suppress(OSError):  # Windows deletes no open file
                        lock_path.unlink(missing_ok=True)
        except Timeout as error:
            raise FetchError(f"Another `anivoice fetch` is at work on {destination}; wait for it.") from error

    def _download_checked(self, file: AssetFile, metadata: "HfFileMetadata", destination: Path) -> None:
        checksum = _expected_checksum(file, metadata)
        part = destination.with_name(f".{destination.name}.{checksum.hex_digest[:NUM_DIGITS_IN_PART_NAME]}.part")
        _require_space(destination, (metadata.size or 0) - _size_of(part))
        self._fill(part, file, metadata)
        if not checksum.matches(part):
            part.unlink()
            raise FetchError(
                f"{_name(file)} came with a wrong checksum and was thrown away: {self.endpoint}, or the way to it, "
                "damages files. Try again, or another mirror (HF_ENDPOINT).",
                FetchStatus.WRONG_CHECKSUM,
            )
        part.replace(destination)
        for stale in destination.parent.glob(f".{destination.name}.*.part"):
            stale.unlink(missing_ok=True)

    def _read_metadata(self, file: AssetFile) -> "HfFileMetadata":
        import httpx2
        from huggingface_hub import get_hf_file_metadata
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            metadata = get_hf_file_metadata(
                self.url_of(file), timeout=METADATA_TIMEOUT_S, library_name="anivoice", endpoint=self.endpoint
            )
        except OfflineModeIsEnabled as error:
            raise ServiceUnreachable("HF_HUB_OFFLINE is set") from error
        except HfHubHTTPError as error:
            raise self._refusal(file, error) from error
        except httpx2.HTTPError as error:
            raise ServiceUnreachable(f"{self.endpoint} cannot be reached ({error})") from error
        if metadata.commit_hash is None or metadata.etag is None:
            raise FetchError(
                f"What answers at {self.endpoint} is no Hugging Face Hub: check HF_ENDPOINT, proxy and firewall."
            )
        return metadata

    def _fill(self, part: Path, file: AssetFile, metadata: "HfFileMetadata") -> None:
        """Fills `part` from where it ends. A connection that breaks is opened anew a few times."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        for num_left in reversed(range(MAX_CONNECTIONS)):
            try:
                self._get(file, metadata, part)
                return
            except HfHubHTTPError as error:
                raise self._refusal(file, error) from error
            except httpx2.HTTPError as error:
                if num_left == 0:
                    raise self._broken_connection(file, part, error) from error
            except OSError as error:
                if error.errno is None:
                    raise FetchError(f"{_name(file)} came with a wrong length; try again. ({error})") from error
                raise

    def _get(self, file: AssetFile, metadata: "HfFileMetadata", part: Path) -> None:
        """The service's own address is asked each time: the one that it redirects to expires. `part` grows by 10 MB."""
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # as above

        if metadata.size is not None and _size_of(part) > metadata.size:
            part.unlink()
        with part.open("ab") as stream:
            http_get(
                self.url_of(file, metadata.commit_hash or "main"),
                stream,
                resume_size=_size_of(part),
                headers={**build_hf_headers(library_name="anivoice"), "Accept-Encoding": "identity"},
                expected_size=metadata.size,
                displayed_filename=file.local_path,
            )

    def _broken_connection(self, file: AssetFile, part: Path, error: Exception) -> FetchError:
        return FetchError(
            f"The connection to {self.endpoint} broke {MAX_CONNECTIONS} times in {_name(file)} ({error}). "
            f"The first {_size_of(part) / 1e6:.1f} MB are kept: the same command goes on from there."
        )

    def _refusal(self, file: AssetFile, error: "HfHubHTTPError") -> FetchError:
        where = f"{_name(file)} at {self.endpoint}"
        code = error.response.status_code
        if code in (401, 403):
            return FetchError(
                f"{where} is not open to everyone ({code}): accept the repository's terms on its page, then give a "
                "token with HF_TOKEN or `hf auth login`.",
                FetchStatus.REFUSED,
            )
        advice = {404: "does not exist (404): check HF_ENDPOINT", 429: "too many requests (429): wait some minutes"}
        return FetchError(f"{where}: {advice.get(code, f'the service answered {code}: try again later')}.")


def is_published_file(path: Path, file: AssetFile) -> bool:
    """True if the size and checksum of the file at `path` are the known ones, as far as they are known."""
    num_bytes = path.stat().st_size
    if num_bytes == 0 or file.num_bytes not in (None, num_bytes):
        return False
    return file.sha256 is None or Checksum("sha256", file.sha256).matches(path)


def _expected_checksum(file: AssetFile, metadata: "HfFileMetadata") -> Checksum:
    """The sum that is known, else the one that the service reports: the ETag of an LFS file or of a git blob."""
    reported = metadata.etag or ""
    if file.sha256 is not None:
        if len(reported) == NUM_SHA256_DIGITS and reported != file.sha256:
            raise FetchError(
                f"{_name(file)} is now another file than the known one (sha256 {reported}, not {file.sha256}); "
                "it was not fetched.",
                FetchStatus.WRONG_CHECKSUM,
            )
        return Checksum("sha256", file.sha256)
    if len(reported) == NUM_SHA256_DIGITS:
        return Checksum("sha256", reported)
    if len(reported) == NUM_GIT_SHA1_DIGITS:
        return Checksum("git-sha1", reported)
    raise FetchError(
        f"The service reports no checksum for {_name(file)}, so it was not fetched: use another mirror (HF_ENDPOINT)."
    )


def _hex_digest(path: Path, algorithm: str) -> str:
    if algorithm == "sha256":
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _require_space(destination: Path, num_bytes: int) -> None:
    num_free_bytes = shutil.disk_usage(destination.parent).free
    if num_bytes > num_free_bytes:
        raise FetchError(
            f"{destination} needs {num_bytes / 1e6:.0f} MB, but only {num_free_bytes / 1e6:.0f} MB are free there."
        )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _name(file: AssetFile) -> str:
    return f"{file.remote_path} of {file.repository}"
