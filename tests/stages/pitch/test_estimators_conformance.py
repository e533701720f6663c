"""Every pitch method against f0/f0_estimators and rmvpe/rmvpe (SPEC 5, 6.1)."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import stated, stated_range
from numpy.typing import NDArray
from torch import Tensor

from anivoice.models.fcpe import DEFAULT_THRESHOLD
from anivoice.stages.pitch.contour import coarse_pitch, interpolate_unvoiced, legacy_dio_contour
from anivoice.stages.pitch.crepe import CrepePitch
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.networks import FcpePitch
from anivoice.stages.pitch.world import WorldPitch

MAX_VOICING_DISAGREEMENT = 0.01


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def speech(conformance_dir: Path) -> Tensor:
    import soundfile

    samples, rate_hz = soundfile.read(conformance_dir / "audio" / "speech_short_16k.wav", dtype="float32")
    assert rate_hz == 16000
    return torch.from_numpy(samples)


@pytest.fixture(scope="module")
def side(conformance_dir: Path) -> dict:
    return json.loads((conformance_dir / "f0" / "f0_estimators.json").read_text())


@pytest.fixture(scope="module")
def expected(conformance_dir: Path) -> dict[str, NDArray[np.float32]]:
    return dict(np.load(conformance_dir / "f0" / "f0_estimators.npz"))


@pytest.fixture(scope="module")
def extractor(rmvpe_tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PitchExtractor:
    weights_dir = tmp_path_factory.mktemp("weights")
    shutil.copy(rmvpe_tiny_path, weights_dir / "rmvpe.pt")
    extractor = PitchExtractor(weights_dir, torch.device("cpu"), torch.float32)
    fcpe = extractor.current("fcpe")
    assert isinstance(fcpe, FcpePitch)
    fcpe.voicing_threshold = DEFAULT_THRESHOLD  # the reference's
    return extractor


def rtol_of(side: dict, method: str) -> float:
    """dio, from the same library as harvest, has no tolerance of its own."""
    family = "harvest" if method == "dio" else method.split("-")[0]
    return stated(side["tolerance"][family], "rtol ")


def assert_same_contour(f0: Tensor, expected: NDArray[np.float32], rtol: float) -> None:
    """The frames that both have: nearly all voiced alike, and where both are voiced the same pitch."""
    known = ~np.isnan(expected)
    ours, theirs = f0.numpy()[: len(expected)][known], expected[known]
    both = (ours > 0) & (theirs > 0)
    assert np.isfinite(ours).all()
    assert both.any()
    assert ((ours > 0) != (theirs > 0)).mean() <= MAX_VOICING_DISAGREEMENT
    np.testing.assert_allclose(ours[both], theirs[both], rtol=rtol)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("pm", "pm_offline"),
        ("fcpe", "fcpe"),
        ("harvest", "harvest_r3"),
        ("dio", "dio_raw"),
        ("crepe-tiny", "crepe_tiny"),
        pytest.param("crepe", "crepe_full", marks=pytest.mark.slow),
    ],
)
def test_method(
    side: dict,
    extractor: PitchExtractor,
    speech: Tensor,
    expected: dict[str, NDArray[np.float32]],
    method: str,
    name: str,
) -> None:
    f0 = extractor.estimate(speech, method)
    assert len(f0) == len(speech) // 160 + 1
    assert_same_contour(f0, expected[name], rtol_of(side, method))


@pytest.mark.parametrize(
    ("method", "name"), [("crepe-tiny", "crepe_tiny"), pytest.param("crepe", "crepe_full", marks=pytest.mark.slow)]
)
def test_crepe_before_the_filters(
    side: dict,
    extractor: PitchExtractor,
    speech: Tensor,
    expected: dict[str, NDArray[np.float32]],
    method: str,
    name: str,
) -> None:
    extractor.estimate(speech[:160], method)
    crepe = extractor._estimators[method]
    assert isinstance(crepe, CrepePitch)
    with torch.inference_mode():
        f0, periodicity = crepe.raw_contour(speech)
    rtol = rtol_of(side, "crepe")
    np.testing.assert_allclose(f0.numpy(), expected[f"{name}_raw"], rtol=rtol)
    np.testing.assert_allclose(periodicity.numpy(), expected[f"{name}_pd"], rtol=rtol)


def test_harvest_without_median(side: dict, speech: Tensor, expected: dict[str, NDArray[np.float32]]) -> None:
    f0 = WorldPitch("harvest", median=False)(speech[None])[0]
    assert_same_contour(f0, expected["harvest_r2"], rtol_of(side, "harvest"))


def test_pm_offline_interpolated(
    side: dict, extractor: PitchExtractor, speech: Tensor, expected: dict[str, NDArray[np.float32]]
) -> None:
    p_len = side["p_len"]
    f0 = interpolate_unvoiced(extractor.estimate(speech, "pm")[:p_len].double())
    np.testing.assert_allclose(f0.numpy(), expected["pm_offline_interp"], rtol=rtol_of(side, "pm"))
    assert np.abs(coarse_pitch(f0).numpy() - expected["pm_offline_coarse"]).max() <= 1


def test_pm_realtime(
    side: dict, extractor: PitchExtractor, speech: Tensor, expected: dict[str, NDArray[np.float32]]
) -> None:
    window = speech[stated_range(side["expected"]["pm_realtime"]["meaning"])]
    assert len(window) < len(speech)
    f0 = interpolate_unvoiced(extractor.estimate(window, "pm", realtime=True))
    np.testing.assert_allclose(f0.numpy(), expected["pm_realtime"], rtol=rtol_of(side, "pm"))
    assert np.abs(coarse_pitch(f0).numpy() - expected["pm_realtime_coarse"]).max() <= 1


def test_dio_helper_of_the_older_pipeline(side: dict, expected: dict[str, NDArray[np.float32]]) -> None:
    contour = legacy_dio_contour(torch.from_numpy(expected["dio_raw"]), side["p_len"])
    np.testing.assert_allclose(contour.numpy(), expected["dio_predictor"], rtol=rtol_of(side, "dio"))


def test_rmvpe(conformance_dir: Path, extractor: PitchExtractor, speech: Tensor) -> None:
    side = json.loads((conformance_dir / "rmvpe" / "rmvpe.json").read_text())
    expected = np.load(conformance_dir / "rmvpe" / "rmvpe.npz")["full/f0"]
    f0 = extractor.estimate(speech, "rmvpe")
    assert len(f0) == len(expected)
    assert_same_contour(f0, expected, rtol=side["tolerance"]["f0"]["rtol"])
