import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import write_constant_rmvpe
from numpy.typing import NDArray
from torch import Tensor

from anivoice.errors import InvalidModelFile, InvalidParameter, MissingAsset
from anivoice.models.pauses import pausing
from anivoice.stages.pitch import extractor as extractor_module
from anivoice.stages.pitch.crepe import mean_of_three, median_of_three, search_bins
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.methods import PITCH_METHODS

CPU = torch.device("cpu")
BUNDLED_METHODS = ("fcpe", "crepe-tiny", "harvest", "dio", "pm")
SHORT_SAMPLES = (1, 159, 160, 433, 513, 800)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def extractor(rmvpe_tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PitchExtractor:
    weights_dir = tmp_path_factory.mktemp("weights")
    (weights_dir / "rmvpe.pt").write_bytes(rmvpe_tiny_path.read_bytes())
    return PitchExtractor(weights_dir, CPU, torch.float32)


@pytest.fixture
def bare(tmp_path: Path) -> PitchExtractor:
    return PitchExtractor(tmp_path, CPU, torch.float32)


def constant(value_hz: float) -> extractor_module.PitchEstimator:
    return lambda samples: torch.full((samples.shape[0], samples.shape[1] // 160 + 1), value_hz)


def harmonic_glide(num_samples: int) -> tuple[Tensor, NDArray[np.float64]]:
    """A voice-like tone from 120 to 300 Hz with 10 harmonics, and its pitch at every 160th sample."""
    f0_hz = np.geomspace(120.0, 300.0, num_samples)
    phase = 2 * np.pi * np.cumsum(f0_hz) / 16000
    tone = sum(np.sin(k * phase) / k for k in range(1, 11))
    return torch.from_numpy(0.2 * tone).float(), f0_hz[::160]


@pytest.mark.parametrize("method", BUNDLED_METHODS)
def test_follows_a_harmonic_glide(extractor: PitchExtractor, method: str) -> None:
    samples, truth = harmonic_glide(24000)
    f0 = extractor.estimate(samples, method)[: len(truth)].numpy()
    voiced = f0 > 0
    assert voiced.mean() > 0.9
    cents = 1200 * np.abs(np.log2(f0[voiced] / truth[voiced]))
    assert (cents < 50).mean() > 0.9


@pytest.mark.parametrize("method", BUNDLED_METHODS)
def test_silence_is_unvoiced(extractor: PitchExtractor, method: str) -> None:
    f0 = extractor.estimate(torch.zeros(8000), method)
    assert f0.tolist() == [0.0] * 51


@pytest.mark.parametrize("method", [*BUNDLED_METHODS, "rmvpe", "hybrid[dio+pm]"])
@pytest.mark.parametrize("num_samples", SHORT_SAMPLES)
@pytest.mark.parametrize("realtime", [False, True])
def test_short_input_has_the_right_length(
    extractor: PitchExtractor, method: str, num_samples: int, realtime: bool
) -> None:
    noise = 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))
    for samples in (torch.zeros(num_samples), noise, torch.ones(num_samples)):
        f0 = extractor.estimate(samples, method, realtime=realtime)
        assert f0.shape == (num_samples // 160 + 1,)
        assert f0.dtype == torch.float32
        assert f0.isfinite().all()
        assert (f0 >= 0).all()


@pytest.mark.parametrize("method", [*BUNDLED_METHODS, "rmvpe"])
def test_a_batch_equals_its_rows(extractor: PitchExtractor, method: str) -> None:
    glide, _ = harmonic_glide(6400)
    batch = torch.stack([glide, glide.flip(0) * 0.5])
    together = extractor.estimate(batch, method)
    assert together.shape == (2, 41)
    apart = torch.stack([extractor.estimate(row, method) for row in batch])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-3)


def test_samples_that_are_not_numbers_never_give_such_a_pitch(extractor: PitchExtractor) -> None:
    samples = torch.full((3200,), torch.nan)
    for method in ("rmvpe", "fcpe"):
        assert extractor.estimate(samples, method).tolist() == [0.0] * 21


@pytest.mark.parametrize("method", ["harvest", "dio", "pm"])
def test_a_device_without_float64_will_do(extractor: PitchExtractor, method: str) -> None:
    class OnDevice(Tensor):
        def double(self) -> Tensor:  # type: ignore[override]
            raise TypeError("this device has no float64")

        def cpu(self) -> Tensor:  # type: ignore[override]
            return self.as_subclass(Tensor)

    samples = torch.sin(torch.arange(8000) / 16)
    estimate = extractor._estimator(method)
    assert torch.equal(estimate(samples[None].as_subclass(OnDevice)), estimate(samples[None]))


def test_hybrid_mixes_two_methods(tmp_path: Path) -> None:
    extractor = PitchExtractor(tmp_path, CPU, torch.float32, {"dio": constant(100.0), "pm": constant(200.0)})
    f0 = extractor.estimate(torch.zeros(800), "Hybrid[dio + pm]", f0_method_weight=0.5)
    torch.testing.assert_close(f0, torch.full((6,), 100.0 * 2**0.5))


def test_hybrid_says_what_is_missing_before_it_computes(tmp_path: Path) -> None:
    def refuse(samples: Tensor) -> Tensor:
        raise AssertionError("computed although the other method is missing")

    extractor = PitchExtractor(tmp_path, CPU, torch.float32, {"dio": refuse})
    with pytest.raises(MissingAsset, match="rmvpe"):
        extractor.estimate(torch.zeros(800), "hybrid[dio+rmvpe]")


def test_a_shorter_contour_is_padded_and_nan_becomes_unvoiced(tmp_path: Path) -> None:
    def careless(samples: Tensor) -> Tensor:
        return torch.tensor([[100.0, torch.nan, torch.inf]])

    extractor = PitchExtractor(tmp_path, CPU, torch.float32, {"dio": careless})
    assert extractor.estimate(torch.zeros(800), "dio").tolist() == [100.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_missing_rmvpe_names_method_file_and_command(bare: PitchExtractor) -> None:
    with pytest.raises(MissingAsset) as caught:
        bare.estimate(torch.zeros(800), "rmvpe")
    for word in ("rmvpe", "rmvpe.pt", "`anivoice fetch rmvpe`"):
        assert word in str(caught.value)


def test_missing_package_names_it(bare: PitchExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor_module, "find_spec", lambda name: None)
    with pytest.raises(MissingAsset, match="pip install praat-parselmouth"):
        bare.estimate(torch.zeros(800), "pm")
    assert not bare.available("fcpe")


def test_availability_and_default(bare: PitchExtractor, extractor: PitchExtractor) -> None:
    assert [method for method in PITCH_METHODS if not bare.available(method)] == ["rmvpe"]
    assert not bare.available("hybrid[rmvpe+fcpe]")
    assert bare.default_method() == "fcpe"
    assert extractor.available("hybrid[rmvpe+fcpe]")
    assert extractor.default_method() == "rmvpe"


def test_rmvpe_as_safetensors(rmvpe_tiny_path: Path, extractor: PitchExtractor, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(torch.load(rmvpe_tiny_path, weights_only=True), tmp_path / "rmvpe.safetensors")
    samples, _ = harmonic_glide(4800)
    other = PitchExtractor(tmp_path, CPU, torch.float32)
    assert other.default_method() == "rmvpe"
    torch.testing.assert_close(other.estimate(samples, "rmvpe"), extractor.estimate(samples, "rmvpe"))


def test_damaged_rmvpe_is_an_error_of_the_file(bare: PitchExtractor, rmvpe_tiny_path: Path) -> None:
    (bare.weights_dir / "rmvpe.pt").write_bytes(rmvpe_tiny_path.read_bytes()[:5000])
    with pytest.raises(InvalidModelFile, match=r"rmvpe\.pt"):
        bare.estimate(torch.zeros(800), "rmvpe")


def test_unknown_method_lists_the_known_ones(bare: PitchExtractor) -> None:
    with pytest.raises(InvalidParameter, match="crepe-tiny"):
        bare.estimate(torch.zeros(800), "swipe")


def test_networks_are_loaded_once(extractor: PitchExtractor) -> None:
    extractor.estimate(torch.zeros(800), "fcpe")
    first = extractor._estimators["fcpe"]
    extractor.estimate(torch.zeros(800), "hybrid[fcpe+dio]")
    assert extractor._estimators["fcpe"] is first


@pytest.fixture
def replaced(bare: PitchExtractor, rmvpe_tiny_path: Path) -> tuple[float, float]:
    """The pitches that rmvpe.pt heard when it was loaded, and what the file hears that has taken its place."""
    file = bare.weights_dir / "rmvpe.pt"
    old_hz = write_constant_rmvpe(rmvpe_tiny_path, file, 100)
    assert hears(bare) == pytest.approx(old_hz, rel=1e-4)
    return old_hz, write_constant_rmvpe(rmvpe_tiny_path, file, 150)


def hears(extractor: PitchExtractor, method: str = "rmvpe") -> float:
    return float(extractor.estimate(torch.zeros(1600), method)[5])


def test_a_replaced_file_is_used_when_somebody_asks_for_the_method(
    bare: PitchExtractor, replaced: tuple[float, float]
) -> None:
    old_hz, new_hz = replaced
    drops: list[float] = []
    bare._before_drop = lambda: drops.append(1)
    version, network = bare.version("rmvpe"), bare.current("rmvpe")
    assert hears(bare) == pytest.approx(old_hz, rel=1e-4)
    for algo in ("pm", "hybrid[rmvpe+pm]", "rmvpe"):
        bare.require(algo)
        assert (bare.version("rmvpe") == version) == (algo == "pm")
    assert hears(bare) == pytest.approx(new_hz, rel=1e-4)
    assert bare.current("rmvpe") is not network
    assert len(drops) == 1
    bare.require("rmvpe")
    assert hears(bare) == pytest.approx(new_hz, rel=1e-4)
    assert len(drops) == 1


def test_a_replaced_file_that_is_broken_is_told_and_the_old_network_goes_on(
    bare: PitchExtractor, replaced: tuple[float, float], rmvpe_tiny_path: Path
) -> None:
    file = bare.weights_dir / "rmvpe.pt"
    whole = file.read_bytes()
    file.write_bytes(whole[:5000])
    for _ in range(2):
        with pytest.raises(InvalidModelFile, match=r"rmvpe\.pt"):
            bare.require("rmvpe")
    assert hears(bare) == pytest.approx(replaced[0], rel=1e-4)
    file.write_bytes(whole)
    bare.require("rmvpe")
    assert hears(bare) == pytest.approx(replaced[1], rel=1e-4)


def test_other_networks_are_watched_as_well(
    bare: PitchExtractor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "fcpe.pt"
    copy.write_bytes(extractor_module._bundled_file(PITCH_METHODS["fcpe"]).read_bytes())
    monkeypatch.setattr(extractor_module, "_bundled_file", lambda method: copy)
    hears(bare, "fcpe")
    network = bare.current("fcpe")
    bare.require("fcpe")
    assert bare.current("fcpe") is network
    os.utime(copy, ns=(1, 1))
    bare.require("fcpe")
    assert bare.current("fcpe") is not network


def test_what_was_given_is_never_replaced(tmp_path: Path) -> None:
    given = PitchExtractor(tmp_path, CPU, torch.float32, {"rmvpe": constant(99.0)})
    hears(given)
    (tmp_path / "rmvpe.pt").write_bytes(b"something else")
    given.require("rmvpe")
    assert hears(given) == 99.0


def test_search_follows_a_path_and_restarts() -> None:
    path = np.concatenate([np.linspace(50, 300, 600), np.full(500, 100)]).astype(int)
    probabilities = np.full((len(path), 360), 1e-4, dtype=np.float32)
    probabilities[np.arange(len(path)), path] = 0.9
    np.testing.assert_array_equal(search_bins(probabilities), path)


def dense_viterbi(probabilities: NDArray[np.float32]) -> list[int]:
    """The same search, state by state over all transitions, as the textbook has it."""
    tiny = np.finfo(np.float32).tiny
    bins = np.arange(360)
    transition = np.maximum(12.0 - np.abs(bins[:, None] - bins), 0)
    log_transition = np.log(transition / transition.sum(axis=1, keepdims=True) + tiny)
    log_probability = np.log(probabilities + tiny).astype(np.float64)
    value, origins = log_probability[0], []
    for frame in log_probability[1:]:
        candidates = value[:, None] + log_transition
        origins.append(candidates.argmax(axis=0))
        value = candidates.max(axis=0) + frame
    path = [int(value.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return path[::-1]


@pytest.mark.parametrize("sharpness", [1, 30, 300])
def test_search_equals_the_textbook(sharpness: float) -> None:
    """Sharp probabilities force steps of more than 12 bins."""
    activations = np.random.default_rng(3).random((200, 360), dtype=np.float32)
    activations[:, :39] = activations[:, 308:] = -np.inf
    probabilities = torch.from_numpy(activations * sharpness).softmax(dim=1).numpy()
    path = dense_viterbi(probabilities)
    assert search_bins(probabilities).tolist() == path
    assert sharpness < 300 or np.abs(np.diff(path)).max() >= 12


def test_filters_of_three_by_hand() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 6.0])
    assert median_of_three(values).tolist() == [1.0, 2.0, 2.0, 2.0]
    assert mean_of_three(values).tolist() == [2.0, 2.0, 3.0, 4.0]
    assert median_of_three(values[:1]).tolist() == [3.0]
    assert mean_of_three(values[:1]).tolist() == [3.0]


@pytest.mark.parametrize("algo", [*BUNDLED_METHODS, "rmvpe", "hybrid[dio+rmvpe]"])
def test_with_pauses_the_pitch_of_a_recording_is_the_same(
    extractor: PitchExtractor, algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, _ = harmonic_glide(32000)
    points: list[None] = []
    with torch.inference_mode():
        whole = extractor.estimate(samples, algo, 0.4)
        monkeypatch.setattr("anivoice.models.rmvpe.GRU_STEP_FRAMES", 50)
        monkeypatch.setattr("anivoice.models.fcpe.STEP_FRAMES", 70)
        done = {name: future.result(60) for name, future in extractor.begin_beside(samples, algo).items()}
        with pausing(lambda: points.append(None)):
            f0 = extractor.estimate(samples, algo, 0.4, done=done)
    torch.testing.assert_close(f0, whole, rtol=1e-4, atol=1e-3)
    assert len(points) > 20 or PITCH_METHODS[algo].runs_on_host


def test_what_cannot_pause_is_computed_on_another_thread(tmp_path: Path) -> None:
    may_go_on = threading.Event()

    def slow(samples: Tensor) -> Tensor:
        assert may_go_on.wait(10)
        assert threading.current_thread() is not threading.main_thread()
        return torch.full((len(samples), samples.shape[-1] // 160 + 1), 111.0)

    extractor = PitchExtractor(tmp_path, CPU, torch.float32, {"harvest": slow})
    future = extractor.begin_beside(torch.zeros(800), "harvest")["harvest"]
    assert not future.done()
    may_go_on.set()
    f0 = extractor.estimate(torch.zeros(800), "harvest", 0.0, done={"harvest": future.result(10)})
    assert f0.tolist() == [111.0] * 6


def test_a_failure_on_the_other_thread_is_raised_here(tmp_path: Path) -> None:
    def broken(samples: Tensor) -> Tensor:
        raise InvalidModelFile("broken")

    extractor = PitchExtractor(tmp_path, CPU, torch.float32, {"pm": broken})
    with pytest.raises(InvalidModelFile, match="broken"):
        extractor.begin_beside(torch.zeros(800), "pm")["pm"].result(10)
