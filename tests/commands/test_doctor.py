"""`anivoice doctor`: each check against a machine or folder made for it, then the whole report."""

import io
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from models.small_encoders import ENCODER_ID, save_tiny_encoder

from anivoice.commands.doctor import machine, speed, weights
from anivoice.commands.doctor import report as doctor
from anivoice.commands.doctor.finding import Finding, run_check
from anivoice.engine.devices import DeviceInfo

HUBERT_FILE = "hubert/tiny12_fairseq/hubert_base.pt"


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


class MakesFolder:
    """Its pickle makes a folder when it is loaded by an unguarded reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def single(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


class TestMachine:
    def test_this_python_is_fine(self) -> None:
        assert single(machine.check_python()).status == "ok"

    @pytest.mark.parametrize("version", [(3, 10), (3, 14)])
    def test_other_pythons_are_wrong(self, version: tuple[int, int]) -> None:
        finding = single(machine.check_python(version))
        assert finding.prevents_serving
        assert "3.12" in finding.remedy

    def test_needed_packages_come_from_the_installation_or_the_checkout(self) -> None:
        needed = machine.needed_packages()
        assert any(line.startswith("torch") for line in needed)
        assert not any(line.startswith("#") for line in needed)

    def test_packages_are_missing_wrong_or_not_needed(self) -> None:
        requirements = [
            "numpy>=1",
            "no-such-package-of-ours>=2",
            "torch>=999",
            "winloop; sys_platform == 'nowhere'",
            "pytest; extra == 'test'",
        ]
        summary, missing, wrong = machine.check_packages(requirements)
        assert summary.detail.startswith("1 have")
        assert (missing.name, missing.status) == ("package no-such-package-of-ours", "missing")
        assert (wrong.name, wrong.status) == ("package torch", "wrong")
        assert missing.prevents_serving
        assert wrong.prevents_serving
        assert "pip install" in wrong.remedy

    def test_unknown_needs_are_no_good_news(self) -> None:
        assert single(machine.check_packages([])).status == "wrong"

    def test_module_that_cannot_be_imported_is_named(self) -> None:
        finding = single(machine.check_native_modules(["json", "no_such_module_of_ours"]))
        assert finding.name == "library no_such_module_of_ours"
        assert finding.prevents_serving
        assert single(machine.check_native_modules(["json"])).status == "ok"

    def test_missing_event_loop_is_no_obstacle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr("anivoice.commands.doctor.machine.importlib.import_module", fail)
        finding = single(machine.check_event_loop())
        assert finding.status == "missing"
        assert not finding.prevents_serving

    def test_sound_formats(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert single(machine.check_sound_formats()).status == "ok"
        monkeypatch.setitem(machine.SOUND_FORMATS, "mp3", ("NO_SUCH_FORMAT", None))
        finding = single(machine.check_sound_formats())
        assert finding.status == "missing"
        assert finding.detail.endswith("lacks mp3")
        assert not finding.prevents_serving

    def test_memory(self) -> None:
        assert single(machine.check_memory()).name == "memory"
        assert single(machine.check_memory(8 * 2**30)).status == "ok"
        assert single(machine.check_memory(2**30)).status == "slow"

    def test_disk_of_a_folder_that_is_not_there_yet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert str(tmp_path) in by_name(machine.check_disk(tmp_path / "not" / "yet"))["disk of weights"].detail
        usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
        monkeypatch.setattr("anivoice.commands.doctor.machine.shutil.disk_usage", lambda folder: usage)
        assert {finding.status for finding in machine.check_disk(tmp_path)} == {"wrong"}


class TestDevices:
    @pytest.fixture(autouse=True)
    def bare_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr("anivoice.commands.doctor.machine.shutil.which", lambda name: None)

    def test_cpu_only(self) -> None:
        cpu, chosen = machine.check_devices(None, None)
        assert (cpu.name, cpu.status) == ("device cpu", "ok")
        assert chosen.detail == "the server computes on cpu"

    def test_gpu_that_is_not_there(self) -> None:
        finding = machine.check_devices(3, None)[-1]
        assert finding.prevents_serving
        assert "GPU_INDEX is 3" in finding.detail

    def test_unused_nvidia_gpu_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("anivoice.commands.doctor.machine.shutil.which", lambda name: "/usr/bin/nvidia-smi")
        finding = by_name(machine.check_devices(None, None))["gpu"]
        assert finding.status == "slow"
        assert "CUDA build" in finding.remedy

    @pytest.mark.parametrize("problem", [None, "no kernel image is available"])
    def test_gpu_that_fails_its_trial(self, monkeypatch: pytest.MonkeyPatch, problem: str | None) -> None:
        gpu = DeviceInfo("cuda:0", "GPU 0", total_bytes=8 * 2**30, free_bytes=None, problem=problem)
        monkeypatch.setattr("anivoice.engine.devices.describe_devices", lambda: [gpu])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        findings = by_name(machine.check_devices(None, None))
        assert "8.0 GiB memory" in findings["device cuda:0"].detail
        assert findings["device"].prevents_serving == (problem is not None)


@contextmanager
def answering_server(body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server.server_address[1]
        thread.join()


class TestPort:
    def test_free_port(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        assert single(machine.check_port("127.0.0.1", port)).status == "ok"
        assert single(machine.check_port("127.0.0.1", 0)).detail == "any free port"

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
    def test_running_anivoice_is_recognised(self, host: str) -> None:
        with answering_server(b'{"message": "AniVoiceChanger API is running"}') as port:
            finding = single(machine.check_port(host, port))
        assert finding.status == "ok"
        assert "already running" in finding.detail

    def test_port_of_another_program(self) -> None:
        with answering_server(b"hello") as port:
            finding = single(machine.check_port("127.0.0.1", port))
        assert finding.prevents_serving
        assert finding.remedy == f"--port {port + 1}"

    def test_address_of_another_machine(self) -> None:
        finding = single(machine.check_port("192.0.2.1", 8000))
        assert finding.prevents_serving
        assert "cannot be used" in finding.detail

    def test_name_that_is_no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **options: object) -> None:
            raise socket.gaierror("unknown")

        monkeypatch.setattr("anivoice.commands.doctor.machine.socket.getaddrinfo", fail)
        assert "is no address" in single(machine.check_port("nowhere.invalid", 8000)).detail


class TestSpeed:
    def test_wait_policy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        assert single(speed.check_threads({"OMP_WAIT_POLICY": "passive"})).status == "ok"
        spinning = single(speed.check_threads({}))
        assert spinning.status == "slow"
        assert "OMP_WAIT_POLICY=PASSIVE" in spinning.remedy
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        assert single(speed.check_threads({})).status == "ok"

    @pytest.mark.parametrize(("gflops", "status"), [({1: 50, 2: 80}, "ok"), ({1: 50, 2: 2}, "slow")])
    def test_threads_that_make_it_slower(self, gflops: dict[int, float], status: str) -> None:
        finding = single(speed.check_speed(2, lambda num_threads, seconds: gflops[num_threads]))
        assert finding.status == status
        assert ("--threads 1" in finding.remedy) == (status == "slow")

    def test_one_thread_is_measured_once(self) -> None:
        measured: list[int] = []

        def measure(num_threads: int, seconds: float) -> float:
            measured.append(num_threads)
            return 10.0

        assert single(speed.check_speed(1, measure)).status == "ok"
        assert measured == [1]

    def test_measuring_keeps_the_number_of_threads(self) -> None:
        before = torch.get_num_threads()
        assert speed.measure_gflops(2, 0.0) > 0
        assert torch.get_num_threads() == before


class TestWeights:
    def test_empty_folder(self, weights_dir: Path) -> None:
        encoder = single(weights.check_content_encoder(weights_dir))
        rmvpe = single(weights.check_rmvpe(weights_dir))
        assert (encoder.status, encoder.remedy) == ("missing", "anivoice fetch contentvec")
        assert encoder.prevents_serving
        assert (rmvpe.status, rmvpe.remedy) == ("missing", "anivoice fetch rmvpe")
        assert not rmvpe.prevents_serving

    def test_no_folder(self, tmp_path: Path) -> None:
        assert single(weights.check_weights_dir(tmp_path)).status == "ok"
        assert single(weights.check_weights_dir(tmp_path / "weights")).prevents_serving

    def test_content_encoder_is_really_read(self, weights_dir: Path, conformance_dir: Path) -> None:
        shutil.copy(conformance_dir / HUBERT_FILE, weights_dir / "hubert_base.pt")
        finding = single(weights.check_content_encoder(weights_dir))
        assert finding.status == "ok", finding.detail
        assert "M parameters" in finding.detail

    def test_damaged_content_encoder(self, weights_dir: Path, conformance_dir: Path) -> None:
        content = (conformance_dir / HUBERT_FILE).read_bytes()
        (weights_dir / "hubert_base.pt").write_bytes(content[: len(content) // 2])
        finding = single(weights.check_content_encoder(weights_dir))
        assert finding.status == "wrong"
        assert finding.prevents_serving

    @pytest.mark.parametrize("name", ["hubert_base.pt", "rmvpe.pt"])
    def test_hostile_file_is_not_executed(self, weights_dir: Path, tmp_path: Path, name: str) -> None:
        torch.save({"model": MakesFolder(tmp_path / "canary")}, weights_dir / name)
        check = weights.check_rmvpe if name == "rmvpe.pt" else weights.check_content_encoder
        assert single(check(weights_dir)).status == "wrong"
        assert not (tmp_path / "canary").exists()

    def test_an_embedded_encoder_is_read_and_is_enough_to_serve(self, weights_dir: Path) -> None:
        path = save_tiny_encoder(weights_dir / f"{ENCODER_ID}.safetensors")
        usual, embedded = weights.check_content_encoder(weights_dir)
        assert (usual.status, usual.prevents_serving) == ("missing", False)
        assert (embedded.name, embedded.status) == (ENCODER_ID, "ok")
        path.write_bytes(path.read_bytes()[:-100])
        usual, embedded = weights.check_content_encoder(weights_dir)
        assert usual.prevents_serving
        assert embedded.status == "wrong"

    def test_content_encoder_directory(self, weights_dir: Path, h768_hf_dir: Path) -> None:
        shutil.copytree(h768_hf_dir, weights_dir / "contentvec")
        assert single(weights.check_content_encoder(weights_dir)).status == "ok"

    def test_rmvpe_is_really_read(self, weights_dir: Path, rmvpe_tiny_path: Path) -> None:
        shutil.copy(rmvpe_tiny_path, weights_dir / "rmvpe.pt")
        finding = single(weights.check_rmvpe(weights_dir))
        assert finding.status == "ok", finding.detail

    def test_rmvpe_that_is_another_network(self, weights_dir: Path) -> None:
        torch.save({"weight": torch.zeros(3)}, weights_dir / "rmvpe.pt")
        finding = single(weights.check_rmvpe(weights_dir))
        assert finding.status == "wrong"
        assert finding.remedy.endswith("--force")

    def test_bundled_pitch(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert {finding.status for finding in weights.check_bundled_pitch()} == {"ok"}
        empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr("anivoice.commands.doctor.weights.find_spec", lambda name: empty)
        assert {finding.status for finding in weights.check_bundled_pitch()} == {"missing"}
        monkeypatch.setattr("anivoice.commands.doctor.weights.find_spec", lambda name: None)
        assert {finding.status for finding in weights.check_bundled_pitch()} == {"missing"}

    def test_voices(self, weights_dir: Path) -> None:
        summary, broken = weights.check_voices(weights_dir, lambda folder: [("anna", None), ("bob", "truncated")])
        assert (summary.status, summary.detail) == ("ok", "1 usable: anna")
        assert (broken.name, broken.status, broken.detail) == ("voice bob", "wrong", "truncated")
        assert not broken.prevents_serving

    def test_no_usable_voice(self, weights_dir: Path) -> None:
        summary, _ = weights.check_voices(weights_dir, lambda folder: [("bob", "truncated")])
        assert summary.prevents_serving
        assert "NAME.pth" in summary.remedy

    def test_voices_come_from_the_library(self, weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Library:
            def __init__(self, folder: Path) -> None:
                self.folder = folder

            def list(self) -> list[SimpleNamespace]:
                return [SimpleNamespace(name=self.folder.name, problem=None)]

        monkeypatch.setitem(sys.modules, "anivoice.voices.library", SimpleNamespace(VoiceLibrary=Library))
        assert single(weights.check_voices(weights_dir)).detail == "1 usable: weights"

    def test_many_voices_are_shortened(self, weights_dir: Path) -> None:
        names: list[tuple[str, str | None]] = [(f"voice{i}", None) for i in range(20)]
        assert single(weights.check_voices(weights_dir, lambda folder: names)).detail.endswith("and 12 more")


class TestReport:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(speed, "check_speed", lambda: [Finding("speed", "ok", "not measured")])
        monkeypatch.setattr(machine, "check_port", lambda host, port: [Finding("port", "ok", f"{host}:{port}")])
        monkeypatch.setattr(weights, "check_voices", lambda folder: [Finding("voices", "ok", "1 usable: a[b]")])

    def report(self, weights_dir: Path, as_json: bool) -> tuple[int, str]:
        out = io.StringIO()
        code = doctor.run_doctor(weights_dir, as_json, "127.0.0.1", 8000, out, device="cpu")
        return code, out.getvalue()

    def test_nothing_fetched_yet(self, weights_dir: Path) -> None:
        code, text = self.report(weights_dir, as_json=False)
        assert code == 1
        assert "anivoice fetch contentvec" in text
        assert "First mend: content encoder." in text
        assert "a[b]" in text

    def test_working_server(self, weights_dir: Path, conformance_dir: Path) -> None:
        shutil.copy(conformance_dir / HUBERT_FILE, weights_dir / "hubert_base.pt")
        code, text = self.report(weights_dir, as_json=False)
        assert code == 0, text
        assert "The server would work." in text

    def test_json(self, weights_dir: Path) -> None:
        code, text = self.report(weights_dir, as_json=True)
        content = json.loads(text)
        findings = {row["name"]: row for row in content["findings"]}
        assert code == 1
        assert content["works"] is False
        assert findings["content encoder"]["status"] == "missing"
        assert findings["content encoder"]["remedy"] == "anivoice fetch contentvec"
        assert findings["port"]["detail"] == "127.0.0.1:8000"
        assert all(set(row) == {"name", "status", "detail", "remedy", "essential"} for row in findings.values())
        assert all(row["remedy"] for row in findings.values() if row["status"] != "ok")

    def test_check_that_fails_itself_is_a_finding(self) -> None:
        def fail() -> list[Finding]:
            raise ZeroDivisionError("oops")

        finding = single(run_check("odd", fail))
        assert finding.prevents_serving
        assert "ZeroDivisionError: oops" in finding.detail
