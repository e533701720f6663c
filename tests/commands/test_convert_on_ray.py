"""`anivoice convert IN OUT --ray`: what is planned, what an actor does, and both on a Ray of this machine."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
from conformance import OWN_VECTORS as VECTORS

from anivoice.commands.convert_on_ray import ActorPool, FileConverter, plan_folder, plan_pool
from anivoice.commands.main import main
from anivoice.config import Settings
from anivoice.errors import InvalidParameter
from anivoice.parameters import ConversionParameters

PARAMETERS = ConversionParameters(model_name="alice", pitch_extraction_algo="pm", seed=1)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copytree(VECTORS / "hubert" / "tiny12_hf_safetensors", folder / "contentvec")
    shutil.copy(VECTORS / "synth" / "v1_f0_40k.pth", folder / "alice.pth")
    return folder


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    samples, _ = soundfile.read(VECTORS / "audio" / "speech_short_16k.wav")
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "deep" / "a.wav", samples[:8000], 16000)
    soundfile.write(folder / "b.flac", samples[8000:16000], 16000)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture
def actor(weights: Path) -> Iterator[FileConverter]:
    settings = Settings(_env_file=None, weights_dir=weights, threads=1, device="cpu")
    converter = FileConverter(settings, PARAMETERS, "flac", None)
    yield converter
    converter.close()


def test_a_second_plan_leaves_out_what_is_done(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = plan_folder(str(recordings), str(out), "wav", False)
    assert [target.removeprefix(f"file://{out}/") for _, target in plan.pairs] == ["b.wav", "broken.wav", "deep/a.wav"]
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "a.wav").write_bytes(b"done")
    again = plan_folder(str(recordings), str(out), "wav", False)
    assert (len(again.pairs), again.num_done) == (2, 1)
    assert plan_folder(str(recordings), str(out), "wav", True) == plan


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "b.wav").write_bytes(b""), "the same result"),
        (shutil.rmtree, "takes a folder"),
        (lambda folder: [path.unlink() for path in folder.rglob("*.*") if path.suffix != ".txt"], "no audio files"),
    ],
)
def test_folders_that_cannot_be_meant(
    recordings: Path, tmp_path: Path, change: Callable[[Path], object], told: str
) -> None:
    change(recordings)
    with pytest.raises(InvalidParameter, match=told):
        plan_folder(str(recordings), str(tmp_path / "out"), "wav", False)


@pytest.mark.parametrize(
    ("resources", "num_workers", "num_files", "pool"),
    [
        ({"CPU": 8.0}, None, 100, ActorPool(8, 1, 0)),
        ({"CPU": 8.0}, 2, 100, ActorPool(2, 4, 0)),
        ({"CPU": 2.0}, 4, 100, ActorPool(4, 0.5, 0)),
        ({"CPU": 8.0}, None, 3, ActorPool(3, 2, 0)),
        ({"CPU": 16.0, "GPU": 2.0}, None, 100, ActorPool(2, 0, 1)),
        ({"CPU": 16.0, "GPU": 2.0}, 4, 100, ActorPool(4, 0, 0.5)),
        ({"CPU": 16.0, "GPU": 2.0}, None, 1, ActorPool(1, 0, 1)),
    ],
)
def test_a_cluster_is_shared_out(
    resources: dict[str, float], num_workers: int | None, num_files: int, pool: ActorPool
) -> None:
    assert plan_pool(resources, num_workers, num_files) == pool


def test_an_actor_converts_between_stores_and_a_bad_file_fails_alone(actor: FileConverter, recordings: Path) -> None:
    store = fsspec.filesystem("memory")
    plan = plan_folder(str(recordings), "memory://results", "flac", False)
    rows = [actor({"source": source, "target": target}) for source, target in plan.pairs]
    assert ["cannot be decoded" in row["error"] for row in rows] == [False, True, False]
    assert sorted(store.find("/results")) == ["/results/b.flac", "/results/deep/a.flac"]
    with store.open("/results/deep/a.flac") as file:
        samples, rate_hz = soundfile.read(file)
    assert (len(samples), rate_hz) == (20000, 40000)
    assert np.abs(samples).max() > 0.001
    store.rm("/results", recursive=True)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_it_says_what_to_install(
    weights: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(recordings), str(tmp_path / "out"), "--weights-dir", str(weights), "--ray"]
    assert main(["convert", *arguments]) == 1
    assert "pip install anivoice[ray]" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra: pip install anivoice[ray]")
def test_a_folder_on_a_ray_of_this_machine(
    weights: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(recordings), str(tmp_path / "out"), "--weights-dir", str(weights), "--quiet"]
    arguments += ["--pitch-extraction-algo", "pm", "--device", "cpu", "--ray", "--ray-workers", "2"]
    assert main(["convert", *arguments]) == 1
    told = capsys.readouterr().err
    assert "broken.wav" in told
    assert "2 of 3 files converted" in told
    assert soundfile.info(tmp_path / "out" / "deep" / "a.wav").frames == 20000
    assert main(["convert", *arguments]) == 1
    assert "2 files have a result already" in capsys.readouterr().err
