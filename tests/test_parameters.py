"""Parameters and settings: every wrong value names itself and says what would be right."""

from pathlib import Path

import pytest

from anivoice.config import load_default_parameters, load_settings
from anivoice.errors import InvalidParameter
from anivoice.parameters import ConversionParameters

ENVIRONMENT = ("MODEL_NAME", "PITCH_CHANGE", "VOLUME_ENVELOPE", "INDEX_RATE", "PITCH_EXTRACTION_ALGO", "GPU_INDEX")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    p = ConversionParameters()
    assert (p.pitch_change, p.volume_envelope, p.index_rate, p.protect, p.f0_method_weight) == (0, 1, 0, 0.33, 0.33)
    assert p.model_name is None
    assert p.pitch_extraction_algo is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pitch_change", "40"),
        ("pitch_change", "high"),
        ("pitch_change", "nan"),
        ("volume_envelope", "1.1"),
        ("volume_envelope", "-0.1"),
        ("index_rate", "inf"),
        ("pitch_extraction_algo", "yin"),
        ("pitch_extraction_algo", "hybrid[pm]"),
        ("f0_method_weight", "2"),
        ("protect", "0.6"),
        ("formant_shift", "13"),
        ("speaker_id", "-1"),
        ("speaker_id", "1.5"),
        ("seed", "-1"),
        ("seed", str(2**63)),
        ("unvoiced_f0", "often"),
        ("model_name", "../alice"),
        ("model_name", "C:\\alice"),
        ("model_name", ".pth"),
        ("model_name", "a\0b"),
        ("model_name", "x" * 300),
    ],
)
def test_a_wrong_value_names_itself(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^{name}"):
        ConversionParameters.parse({name: value})


def test_several_wrong_values_are_all_named() -> None:
    with pytest.raises(InvalidParameter, match=r"pitch_change.*protect"):
        ConversionParameters.parse({"pitch_change": "99", "protect": "9"})


def test_an_unknown_parameter_is_told_with_the_known_ones() -> None:
    with pytest.raises(InvalidParameter, match=r"pitch: no such parameter.*pitch_change"):
        ConversionParameters.parse({"pitch": "1"})
    with pytest.raises(InvalidParameter, match="pitch: no such parameter"):
        ConversionParameters.parse({"pitch": ""})


def test_blank_values_mean_not_given() -> None:
    assert ConversionParameters.parse({"seed": "", "pitch_change": " "}) == ConversionParameters()


def test_the_request_goes_over_the_defaults() -> None:
    defaults = ConversionParameters(pitch_change=3, index_rate=0.5)
    p = ConversionParameters.parse({"pitch_change": "-2"}, defaults)
    assert (p.pitch_change, p.index_rate) == (-2, 0.5)


def test_a_model_name_may_carry_its_ending() -> None:
    for name in ("alice", "alice.pth", "alice.safetensors"):
        assert ConversionParameters.parse({"model_name": name}).model_name == "alice"


def test_defaults_from_the_environment_and_dot_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MODEL_NAME=alice.pth\nPITCH_CHANGE=5\nANIVOICE_PORT=8123\n")
    monkeypatch.setenv("PITCH_CHANGE", "-3")
    monkeypatch.setenv("PITCH_EXTRACTION_ALGO", "harvest")
    defaults = load_default_parameters()
    assert (defaults.model_name, defaults.pitch_change, defaults.pitch_extraction_algo) == ("alice", -3, "harvest")
    assert load_settings().port == 8123
    assert load_settings({"port": "8124", "host": None}).port == 8124


def test_a_wrong_environment_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEX_RATE", "7")
    with pytest.raises(InvalidParameter, match=r"environment: index_rate"):
        load_default_parameters()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ANIVOICE_PORT", "x", "ANIVOICE_PORT / --port"),
        ("GPU_INDEX", "-1", "GPU_INDEX / --gpu-index"),
        ("ANIVOICE_DEVICE", "tpu", "ANIVOICE_DEVICE / --device"),
        ("ANIVOICE_API_KEY", "short", "ANIVOICE_API_KEY / --api-key"),
        ("ANIVOICE_MAX_UPLOAD_MB", "0", "ANIVOICE_MAX_UPLOAD_MB / --max-upload-mb"),
    ],
)
def test_a_wrong_setting_names_itself(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidParameter, match=told):
        load_settings()


def test_the_gpu_index_comes_from_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_INDEX", "1")
    assert load_settings().gpu_index == 1
    assert load_settings({"gpu_index": "2"}).gpu_index == 2
    monkeypatch.setenv("GPU_INDEX", "")
    assert load_settings().gpu_index is None
