"""`anivoice fetch` against a local stand-in for Hugging Face."""

import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from anivoice.commands.fetch import asset_state, run_fetch
from anivoice.voices.assets import (
    DEFAULT_ASSET_NAMES,
    Asset,
    AssetFile,
    find_content_encoder,
    find_rmvpe,
    select_assets,
)
from anivoice.voices.download import FetchStatus

COMMIT_HASH = "0123456789abcdef0123456789abcdef01234567"


def git_blob_sha1(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass
class HostedFile:
    """`is_lfs` files are redirected and carry the sha256 as ETag, others are served at once with the git sha1."""

    content: bytes
    is_lfs: bool = True
    served_content: bytes | None = None
    etag: str | None = None
    cut_after_bytes: list[int] = field(default_factory=list)
    refusal: tuple[int, str] | None = None

    @property
    def body(self) -> bytes:
        return self.content if self.served_content is None else self.served_content

    @property
    def reported_etag(self) -> str:
        if self.etag is not None:
            return self.etag
        return hashlib.sha256(self.content).hexdigest() if self.is_lfs else git_blob_sha1(self.content)


class FakeHub:
    """The part of huggingface.co that a download asks: resolve URLs, redirected to a "CDN".

    Use as a context manager; `files` maps "owner/name/path" to what is hosted, `requests` is what came in.
    """

    def __init__(self, files: dict[str, HostedFile] | None = None) -> None:
        self.files = files or {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sends_hub_headers = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.handle(self, with_body=False)

            def do_GET(self) -> None:
                hub.handle(self, with_body=True)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def headers_of(self, method: str, prefix: str) -> list[dict[str, str]]:
        return [headers for verb, path, headers in self.requests if verb == method and path.startswith(prefix)]

    def handle(self, request: BaseHTTPRequestHandler, with_body: bool) -> None:
        self.requests.append((request.command, request.path, {k.lower(): v for k, v in request.headers.items()}))
        if request.path.startswith("/cdn/"):
            self._send_body(request, self.files[request.path.removeprefix("/cdn/")], with_body)
            return
        repository, _, rest = request.path.lstrip("/").partition("/resolve/")
        key = f"{repository}/{rest.partition('/')[2]}"
        file = self.files.get(key)
        if file is None:
            self._send(request, 404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        elif file.refusal is not None:
            self._send(request, file.refusal[0], {"X-Error-Code": file.refusal[1]} if file.refusal[1] else {})
        else:
            self._resolve(request, key, file, with_body)

    def _resolve(self, request: BaseHTTPRequestHandler, key: str, file: HostedFile, with_body: bool) -> None:
        headers = {"X-Repo-Commit": COMMIT_HASH} if self.sends_hub_headers else {}
        if not file.is_lfs:
            self._send_body(request, file, with_body, headers | {"ETag": f'"{file.reported_etag}"'})
            return
        headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-Etag": f'"{file.reported_etag}"'}
        self._send(request, 302, headers | {"Location": f"http://localhost:{self.server.server_address[1]}/cdn/{key}"})

    def _send_body(
        self, request: BaseHTTPRequestHandler, file: HostedFile, with_body: bool, extra: dict[str, str] | None = None
    ) -> None:
        first = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        body = file.body[first:]
        headers = (extra or {}) | {"Content-Length": str(len(body)), "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(file.body) - 1}/{len(file.body)}"
        request.send_response(206 if first else 200)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if not with_body:
            return
        if file.cut_after_bytes:
            body = body[: file.cut_after_bytes.pop(0)]
            request.close_connection = True
        request.wfile.write(body)

    def _send(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in (headers | {"Content-Length": "0"}).items():
            request.send_header(name, value)
        request.end_headers()


CONFIG = b'{"hidden_size": 768}\n'
ENCODER = bytes(range(256)) * 800
RMVPE = b"rmvpe weights " * 10_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


SMALL_CATALOGUE = (
    Asset(
        "contentvec",
        "content encoder",
        (
            AssetFile("owner/contentvec", "config.json", "contentvec/config.json"),
            AssetFile(
                "owner/contentvec", "pytorch_model.bin", "contentvec/pytorch_model.bin", sha256(ENCODER), 204_800
            ),
        ),
    ),
    Asset("rmvpe", "pitch", (AssetFile("owner/voices", "rmvpe.pt", "rmvpe.pt", sha256(RMVPE)),)),
    Asset("base/v2/f0G40k", "base", (AssetFile("owner/voices", "pretrained_v2/f0G40k.pth", "base/v2/f0G40k.pth"),)),
)


@dataclass
class Bench:
    """One weights directory and one stand-in; `fetch` returns the exit code and the printed text."""

    hub: FakeHub
    weights_dir: Path

    def fetch(
        self,
        *names: str,
        force: bool = False,
        list_only: bool = False,
        endpoint: str | None = None,
        catalogue: tuple[Asset, ...] = SMALL_CATALOGUE,
    ) -> tuple[int, str]:
        out = io.StringIO()
        endpoint = endpoint or self.hub.endpoint
        code = run_fetch(names, self.weights_dir, force, list_only, out, catalogue=catalogue, endpoint=endpoint)
        return code, out.getvalue()

    @property
    def hidden_files(self) -> list[str]:
        return sorted(path.name for path in self.weights_dir.rglob(".*"))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    disable_progress_bars()
    files = {
        "owner/contentvec/config.json": HostedFile(CONFIG, is_lfs=False),
        "owner/contentvec/pytorch_model.bin": HostedFile(ENCODER),
        "owner/voices/rmvpe.pt": HostedFile(RMVPE),
        "owner/voices/pretrained_v2/f0G40k.pth": HostedFile(b"base" * 100),
    }
    with FakeHub(files) as hub:
        yield Bench(hub, tmp_path / "weights")
        huggingface_hub.close_session()
    enable_progress_bars()


def test_default_fetch_puts_both_assets_in_place(bench: Bench) -> None:
    code, text = bench.fetch()
    assert code == FetchStatus.OK, text
    assert (bench.weights_dir / "contentvec/config.json").read_bytes() == CONFIG
    assert (bench.weights_dir / "contentvec/pytorch_model.bin").read_bytes() == ENCODER
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE
    assert not (bench.weights_dir / "base").exists()
    assert bench.hidden_files == []
    assert find_content_encoder(bench.weights_dir) == bench.weights_dir / "contentvec"
    assert find_rmvpe(bench.weights_dir) == bench.weights_dir / "rmvpe.pt"


def test_download_is_pinned_to_the_commit_whose_checksum_was_read(bench: Bench) -> None:
    bench.fetch("contentvec")
    assert bench.hub.headers_of("GET", f"/owner/contentvec/resolve/{COMMIT_HASH}/config.json")


def test_base_generators_are_a_group(bench: Bench) -> None:
    code, _ = bench.fetch("base")
    assert code == FetchStatus.OK
    assert (bench.weights_dir / "base/v2/f0G40k.pth").read_bytes() == b"base" * 100


def test_present_files_are_kept_without_asking_the_service(bench: Bench) -> None:
    bench.fetch()
    bench.hub.requests.clear()
    code, text = bench.fetch()
    assert code == FetchStatus.OK
    assert text.count(": present") == 3
    assert bench.hub.requests == []


def test_force_fetches_anew(bench: Bench) -> None:
    bench.fetch("rmvpe")
    bench.hub.requests.clear()
    code, _ = bench.fetch("rmvpe", force=True)
    assert code == FetchStatus.OK
    assert bench.hub.headers_of("GET", "/cdn/owner/voices/rmvpe.pt")


def test_own_or_damaged_file_is_left_alone_and_replaced_by_force(bench: Bench) -> None:
    bench.weights_dir.mkdir()
    (bench.weights_dir / "rmvpe.pt").write_bytes(RMVPE[:100])
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.WRONG_CHECKSUM
    assert "--force" in text
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE[:100]
    assert bench.fetch("rmvpe", force=True)[0] == FetchStatus.OK
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE


def test_cut_connection_goes_on_where_it_broke(bench: Bench) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"].cut_after_bytes = [50_000, 30_000]
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.OK, text
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE
    ranges = [headers.get("range") for headers in bench.hub.headers_of("GET", "/cdn/")]
    assert ranges == [None, "bytes=50000-", "bytes=80000-"]


def test_next_run_goes_on_where_the_last_one_gave_up(bench: Bench) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"].cut_after_bytes = [60_000, *[0] * 40]
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert "the same command goes on from there" in text
    assert not (bench.weights_dir / "rmvpe.pt").exists()
    assert len(bench.hidden_files) == 1
    bench.hub.files["owner/voices/rmvpe.pt"].cut_after_bytes = []
    bench.hub.requests.clear()
    assert bench.fetch("rmvpe")[0] == FetchStatus.OK
    assert [headers.get("range") for headers in bench.hub.headers_of("GET", "/cdn/")] == ["bytes=60000-"]
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE
    assert bench.hidden_files == []


def test_corrupt_content_is_refused_and_removed(bench: Bench) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"].served_content = b"X" + RMVPE[1:]
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.WRONG_CHECKSUM
    assert "wrong checksum" in text
    assert list(bench.weights_dir.rglob("*")) == []


def test_corrupt_small_file_is_found_by_its_git_checksum(bench: Bench) -> None:
    bench.hub.files["owner/contentvec/config.json"].served_content = CONFIG.replace(b"768", b"769")
    code, _ = bench.fetch("contentvec")
    assert code == FetchStatus.WRONG_CHECKSUM
    assert not (bench.weights_dir / "contentvec/config.json").exists()
    assert (bench.weights_dir / "contentvec/pytorch_model.bin").exists()
    assert find_content_encoder(bench.weights_dir) is None


def test_failed_force_leaves_the_old_file(bench: Bench) -> None:
    bench.fetch("rmvpe")
    bench.hub.files["owner/voices/rmvpe.pt"].served_content = b"X" + RMVPE[1:]
    assert bench.fetch("rmvpe", force=True)[0] == FetchStatus.WRONG_CHECKSUM
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE


def test_wrong_length_is_refused(bench: Bench) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"].served_content = RMVPE + b"more"
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert "wrong length" in text
    assert not (bench.weights_dir / "rmvpe.pt").exists()
    bench.hub.files["owner/voices/rmvpe.pt"].served_content = None
    assert bench.fetch("rmvpe")[0] == FetchStatus.OK


def test_another_file_than_the_known_one_is_not_even_fetched(bench: Bench) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"] = HostedFile(b"something else")
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.WRONG_CHECKSUM
    assert sha256(b"something else") in text
    assert not bench.hub.headers_of("GET", "/cdn/")


def test_file_without_any_checksum_is_refused(bench: Bench) -> None:
    bench.hub.files["owner/contentvec/config.json"].etag = "weak-1"
    code, text = bench.fetch("contentvec")
    assert code == FetchStatus.FAILED
    assert "reports no checksum" in text


def test_missing_remote_file_is_named_and_the_rest_is_fetched(bench: Bench) -> None:
    del bench.hub.files["owner/contentvec/pytorch_model.bin"]
    code, text = bench.fetch()
    assert code == FetchStatus.FAILED
    assert "pytorch_model.bin of owner/contentvec" in text
    assert "404" in text
    assert (bench.weights_dir / "rmvpe.pt").exists()


@pytest.mark.parametrize("refusal", [(401, ""), (401, "RepoNotFound"), (403, "GatedRepo")])
def test_gated_repository_asks_for_a_token(bench: Bench, refusal: tuple[int, str]) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"].refusal = refusal
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.REFUSED
    assert "HF_TOKEN" in text


def test_token_goes_to_the_service_and_not_to_another_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert bench.fetch("rmvpe")[0] == FetchStatus.OK
    assert bench.hub.headers_of("HEAD", "/owner/")[0]["authorization"] == "Bearer hf_secret"
    assert "authorization" not in bench.hub.headers_of("GET", "/cdn/")[0]


@pytest.mark.parametrize(("status", "word"), [(429, "too many requests"), (503, "try again later")])
def test_fault_of_the_service_is_told(bench: Bench, status: int, word: str) -> None:
    bench.hub.files["owner/voices/rmvpe.pt"].refusal = (status, "")
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert word in text


def test_unreachable_service_says_what_to_put_where_by_hand(bench: Bench) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, text = bench.fetch(endpoint=f"http://127.0.0.1:{port}")
    assert code == FetchStatus.OFFLINE
    assert text.count("Offline:") == 1
    for file in (file for name in DEFAULT_ASSET_NAMES for file in select_assets([name], SMALL_CATALOGUE)[0].files):
        assert f"{file.remote_path}" in text
        assert file.repository in text
        assert str(bench.weights_dir / file.local_path) in text
    assert "f0G40k" not in text
    assert not bench.weights_dir.exists()


def test_offline_message_names_only_what_is_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    bench.fetch("contentvec")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    bench.hub.requests.clear()
    code, text = bench.fetch()
    assert code == FetchStatus.OFFLINE
    assert "HF_HUB_OFFLINE is set" in text
    assert str(bench.weights_dir / "rmvpe.pt") in text
    assert str(bench.weights_dir / "contentvec/config.json") not in text.partition("Offline:")[2]
    assert bench.hub.requests == []


def test_offline_with_everything_present_is_no_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    bench.fetch()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert bench.fetch()[0] == FetchStatus.OK


def test_offline_takes_a_known_file_from_the_hugging_face_cache(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, hf_hub_download

    hf_hub_download("owner/voices", "rmvpe.pt", endpoint=bench.hub.endpoint, cache_dir=constants.HF_HUB_CACHE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.OK, text
    assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE
    assert bench.hidden_files == []


def test_endpoint_that_is_no_hub_is_told(bench: Bench) -> None:
    bench.hub.sends_hub_headers = False
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert "no Hugging Face Hub" in text


def test_full_disk_is_told_before_the_download(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = replace_free_bytes(shutil.disk_usage(bench.weights_dir.parent), 1000)
    monkeypatch.setattr("anivoice.voices.download.shutil.disk_usage", lambda path: usage)
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert "are free there" in text
    assert not bench.hub.headers_of("GET", "/cdn/")


def replace_free_bytes(usage: object, free: int) -> object:
    return usage._replace(free=free)  # type: ignore[attr-defined]


def test_destination_that_cannot_be_written_is_told(bench: Bench) -> None:
    bench.weights_dir.write_text("a file where the folder should be")
    code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert "could not be written" in text


def test_second_fetch_at_the_same_time_is_refused(bench: Bench) -> None:
    from huggingface_hub.utils import WeakFileLock

    bench.weights_dir.mkdir()
    with WeakFileLock(bench.weights_dir / ".rmvpe.pt.lock"):
        code, text = bench.fetch("rmvpe")
    assert code == FetchStatus.FAILED
    assert "at work" in text


def test_unknown_name_lists_the_known_ones(bench: Bench) -> None:
    code, text = bench.fetch("rmvpee")
    assert code == FetchStatus.UNKNOWN_NAME
    assert "'rmvpee'" in text
    assert "contentvec" in text


def test_list_shows_what_is_present(bench: Bench) -> None:
    bench.fetch("rmvpe")
    bench.hub.requests.clear()
    code, text = bench.fetch(list_only=True)
    states = {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}
    assert code == FetchStatus.OK
    assert states == {"contentvec": "missing", "rmvpe": "present", "base/v2/f0G40k": "missing"}
    assert bench.hub.requests == []


def test_asset_states(tmp_path: Path) -> None:
    contentvec = SMALL_CATALOGUE[0]
    (tmp_path / "contentvec").mkdir()
    (tmp_path / "contentvec/config.json").write_bytes(CONFIG)
    assert asset_state(contentvec, tmp_path) == "incomplete"
    (tmp_path / "contentvec/pytorch_model.bin").write_bytes(ENCODER[:-1])
    assert asset_state(contentvec, tmp_path) == "damaged"
    (tmp_path / "contentvec/pytorch_model.bin").write_bytes(ENCODER)
    assert asset_state(contentvec, tmp_path) == "present"


@pytest.mark.parametrize("offline", [False, True])
def test_environment_of_a_fresh_process(bench: Bench, offline: bool) -> None:
    """HF_ENDPOINT is the mirror, HF_HUB_OFFLINE=1 is obeyed: both are read when the process starts."""
    script = (
        "import sys; from pathlib import Path; from anivoice.voices.assets import Asset, AssetFile;"
        "from anivoice.commands.fetch import run_fetch;"
        f"catalogue = [Asset('rmvpe', '', (AssetFile('owner/voices', 'rmvpe.pt', 'rmvpe.pt', '{sha256(RMVPE)}'),))];"
        f"weights_dir = Path({str(bench.weights_dir)!r});"
        "sys.exit(run_fetch(['rmvpe'], weights_dir, False, False, sys.stdout, catalogue=catalogue))"
    )
    environment = os.environ | {"HF_ENDPOINT": bench.hub.endpoint + "/", "HF_HUB_OFFLINE": str(int(offline))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"HF_HOME": str(bench.weights_dir.parent / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if offline:
        assert done.returncode == FetchStatus.OFFLINE
        assert f"{bench.hub.endpoint}/owner/voices/resolve/main/rmvpe.pt" in done.stdout
        assert bench.hub.requests == []
    else:
        assert done.returncode == FetchStatus.OK, done.stdout + done.stderr
        assert (bench.weights_dir / "rmvpe.pt").read_bytes() == RMVPE


def test_known_sum_wins_when_the_service_reports_a_git_sum(bench: Bench) -> None:
    catalogue = (Asset("config", "", (replace(SMALL_CATALOGUE[0].files[0], sha256=sha256(CONFIG)),)),)
    assert bench.fetch("config", catalogue=catalogue)[0] == FetchStatus.OK
