"""Voice files of every kind load; everything wrong with one is said in one sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints.voices import SMALL, export, layout, random_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anivoice.checkpoints.voice_config_values import NUM_CONFIG_VALUES, values_from_config
from anivoice.checkpoints.voice_file import VoiceCheckpoint, load_voice_file, save_voice_safetensors
from anivoice.checkpoints.voice_inference import infer_config
from anivoice.checkpoints.voice_layout import expected_shapes
from anivoice.errors import InvalidModelFile
from anivoice.models.voice_config import VoiceConfig

LAYOUTS = {
    "v1_32k": ((10, 4, 2, 2, 2), (16, 16, 4, 4, 4)),
    "40k": ((10, 10, 2, 2), (16, 16, 4, 4)),
    "v1_48k": ((10, 6, 2, 2, 2), (16, 16, 4, 4, 4)),
    "v2_32k": ((10, 8, 2, 2), (20, 16, 4, 4)),
    "v2_48k": ((12, 10, 2, 2), (24, 20, 4, 4)),
    "24k": ((10, 6, 2, 2), (20, 12, 4, 4)),
}
MRF = replace(SMALL, vocoder="MRF HiFi-GAN")
RESBLOCK_2 = replace(SMALL, resblock="2", resblock_dilation_sizes=((1, 3),) * 3)


def _save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def _refusal(path: Path, sample_rate_hz: int | None = None) -> str:
    with pytest.raises(InvalidModelFile) as caught:
        load_voice_file(path, sample_rate_hz)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert message.endswith(".")
    return message


def _base(config: VoiceConfig, spec_channels: int | None = None) -> dict[str, object]:
    state = random_state(config)
    if spec_channels is not None:
        state["enc_q.pre.weight"] = torch.zeros(config.hidden_channels, spec_channels, 1)
    return {"model": state, "iteration": 3, "optimizer": None, "learning_rate": 1e-4}


@pytest.mark.parametrize("config", [SMALL, MRF, RESBLOCK_2, replace(SMALL, has_f0=False), replace(SMALL, version="v1")])
def test_an_export_loads_with_exactly_the_expected_tensors(tmp_path: Path, config: VoiceConfig):
    content = export(config)
    content["weight"].update(
        {"enc_q.pre.weight": torch.ones(2), "extra.tensor": torch.ones(3), "count": torch.tensor(3)}
    )
    voice = load_voice_file(_save(tmp_path / "v.pth", content))
    assert voice.config == config
    assert {name: tuple(tensor.shape) for name, tensor in voice.state.items()} == expected_shapes(config)
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in voice.state.values())


def test_the_full_size_layout_has_the_documented_number_of_tensors():
    real = replace(
        SMALL, inter_channels=192, hidden_channels=192, filter_channels=768, num_layers=6, gin_channels=256,
        upsample_initial_channel=512, num_speakers=109,
    )  # fmt: skip
    shapes = expected_shapes(real)
    # 457 tensors with weight norm (SPEC 1.4), two for every folded one.
    normed = [name for name in shapes if name.endswith(".weight") and name.split(".")[1] in ("ups", "resblocks")]
    normed += [name for name in shapes if name.startswith("flow") and ".enc." in name and name.endswith(".weight")]
    assert len(shapes) + len(normed) == 457
    assert shapes["dec.noise_convs.0.weight"] == (256, 1, 80)
    assert shapes["flow.flows.6.enc.cond_layer.weight"] == (1152, 256, 1)


def test_missing_entries_have_the_old_defaults(tmp_path: Path):
    config = replace(SMALL, version="v1")
    voice = load_voice_file(_save(tmp_path / "v.pth", export(config, version=None, f0=None, vocoder=None, sr=None)))
    assert voice.config == config


def test_applio_entries_are_understood(tmp_path: Path):
    values = values_from_config(SMALL)
    values[17] = "40k"
    values[15] = 109
    content = export(
        f0=True, sr=40_000, config=values, embedder_model="contentvec", author=None, epoch=120, model_name="x",
        long="y" * 5_000, nested={"a": [1]}, big=10**400, odd=float("nan"), unvoiced_f0="interpolate",
    )  # fmt: skip
    voice = load_voice_file(_save(tmp_path / "v.pth", content))
    assert voice.config == SMALL
    assert voice.embedder_model == "contentvec"
    assert voice.unvoiced_f0 == "interpolate"
    assert voice.info == {"info": "small", "sr": 40_000, "epoch": 120, "model_name": "x", "long": "y" * 1_000}


@pytest.mark.parametrize("layout_name", sorted(LAYOUTS))
@pytest.mark.parametrize("base", [SMALL, MRF, RESBLOCK_2])
def test_base_generators_with_f0_are_inferred(tmp_path: Path, layout_name: str, base: VoiceConfig):
    config = layout(base, *LAYOUTS[layout_name])
    voice = load_voice_file(_save(tmp_path / "G.pth", _base(config)))
    assert voice.config == config
    assert voice.info["iteration"] == 3


@pytest.mark.parametrize("layout_name", sorted(LAYOUTS))
def test_base_generators_without_f0_are_inferred_or_ask_for_the_rate(tmp_path: Path, layout_name: str):
    config = layout(SMALL, *LAYOUTS[layout_name], has_f0=False)
    path = _save(tmp_path / "G.pth", _base(config))
    if layout_name in ("v1_32k", "v1_48k"):
        message = _refusal(path)
        assert "32000 or 48000" in message
        assert "40000" in _refusal(path, 40_000)
        spec = _save(tmp_path / "enc_q.pth", _base(config, 513 if layout_name == "v1_32k" else 1025))
        assert load_voice_file(spec).config == config
        assert "not" in _refusal(spec, 80_000 - config.sample_rate_hz)
    else:
        assert load_voice_file(path).config == config
    assert load_voice_file(path, config.sample_rate_hz).config == config


def test_an_unknown_first_rate_needs_the_sample_rate():
    config = layout(SMALL, (8, 10, 2, 2), (14, 20, 4, 4))
    with pytest.raises(ValueError, match="sample rate"):
        infer_config(expected_shapes(config))
    assert infer_config(expected_shapes(config), 32_000) == config


def test_a_rate_that_contradicts_the_file_is_refused(tmp_path: Path):
    path = _save(tmp_path / "v.pth", export())
    assert "40000 Hz, not 48000" in _refusal(path, 48_000)
    assert load_voice_file(path, 40_000).config == SMALL


def test_safetensors_round_trip(tmp_path: Path):
    for number, config in enumerate((SMALL, MRF, replace(SMALL, has_f0=False))):
        original = load_voice_file(_save(tmp_path / "v.pth", export(config, embedder_model="x", epoch=3)))
        path = tmp_path / f"{number}.safetensors"
        save_voice_safetensors(path, original)
        voice = load_voice_file(path)
        assert (voice.config, voice.info, voice.embedder_model) == (config, original.info, "x")
        assert voice.state.keys() == original.state.keys()
        assert all(torch.equal(voice.state[name], tensor) for name, tensor in original.state.items())
        path.write_bytes(b"gone")  # the loaded tensors do not depend on the file


def test_safetensors_with_flat_metadata(tmp_path: Path):
    import json

    from safetensors.torch import save_file

    path = tmp_path / "v.safetensors"
    metadata = {"config": json.dumps(values_from_config(SMALL)), "version": "v2", "f0": "1", "author": "someone"}
    save_file(random_state(SMALL), path, metadata=metadata)
    voice = load_voice_file(path)
    assert voice.config == SMALL
    assert voice.info == {"author": "someone"}


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"anivoice": "{"}, {"anivoice": "[1]"}, {"anivoice": "[" * 100_000}]
)
def test_safetensors_without_a_config_are_refused(tmp_path: Path, metadata: dict[str, str] | None):
    from safetensors.torch import save_file

    path = tmp_path / "v.safetensors"
    save_file(random_state(SMALL), path, metadata=metadata)
    _refusal(path)


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", b"PK\3\4"]
)
def test_damaged_safetensors_are_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "v.safetensors"
    path.write_bytes(data)
    _refusal(path)
    _refusal(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (2, 10**12), (2, 7), (2, -2), (2, "6"), (2, 6.0), (2, True), (3, 0), (3, 9), (4, None), (5, 3), (5, 0),
        (6, 10**9), (6, 3), (7, 10**6), (9, "3"), (9, [1]),
        (10, []), (10, [3] * 100), (10, [4, 7, 11]), (10, 3), (10, [3, 7]),
        (11, [[1, 3, 5]] * 2), (11, [[1, 3, 10**9]] * 3), (11, [1, 3, 5]), (11, [[1, 3, 5, 7]] * 3), (12, [10, 10, 2]),
        (12, [10, 10, 2, 0]), (12, [10, 10, 4, 1]), (12, [40, 10, 1, 1]), (13, 10**9), (13, 8), (14, [17, 16, 4, 4]),
        (14, [16, 16, 4]), (14, [2, 16, 4, 4]), (16, 10**8), (17, 48_000), (17, "40kk"), (17, None), (17, "9" * 50),
        (17, -1),
    ],
)  # fmt: skip
def test_hostile_config_values_are_refused_before_anything_is_built(tmp_path: Path, index: int, value: object):
    values = values_from_config(SMALL)
    values[index] = value
    _refusal(_save(tmp_path / "v.pth", export(config=values)))


@pytest.mark.parametrize("values", [None, 3, {}, [], [0] * 17, ["x"] * NUM_CONFIG_VALUES, [[]] * NUM_CONFIG_VALUES])
def test_configs_that_are_none_are_refused(tmp_path: Path, values: object):
    _refusal(_save(tmp_path / "v.pth", export(config=values)))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": "v3"}, "version"),
        ({"version": [1]}, "version"),
        ({"version": "v1"}, "emb_phone"),
        ({"f0": "maybe"}, "f0"),
        ({"f0": []}, "f0"),
        ({"vocoder": "BigVGAN"}, "vocoder"),
        ({"vocoder": "RefineGAN"}, "RefineGAN"),
        ({"vocoder": "MRF HiFi-GAN"}, "missing"),
        ({"vocoder": "MRF HiFi-GAN", "f0": 0}, "without f0"),
        ({"unvoiced_f0": "loud"}, "unvoiced_f0"),
        ({"weight": None}, "neither"),
        ({"weight": [1]}, "neither"),
        ({"weight": {}}, "emb_g"),
        ({"weight": {"emb_g.weight": 3}}, "emb_g"),
    ],
)
def test_wrong_entries_are_named(tmp_path: Path, changes: dict[str, object], word: str):
    assert word in _refusal(_save(tmp_path / "v.pth", export(**changes)))


def test_missing_and_misshaped_tensors_are_named(tmp_path: Path):
    content = export()
    state = content["weight"]
    state["dec.conv_pre.weight"] = torch.zeros(3, 4, 5)
    for name in ("enc_p.proj.bias", "dec.ups.1.weight", "flow.flows.2.pre.bias", "dec.cond.bias"):
        del state[name]
    message = _refusal(_save(tmp_path / "v.pth", content))
    assert "and 2 more" in message
    assert message.count("missing") + message.count("instead of") == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float):
    content = export()
    content["weight"]["dec.cond.bias"][3] = value
    assert "dec.cond.bias" in _refusal(_save(tmp_path / "v.pth", content))


def test_refinegan_is_recognised_by_its_tensors(tmp_path: Path):
    state = {"dec.upsample_conv_blocks.0.input_conv.weight": torch.ones(1)}
    assert "HiFi-GAN" in _refusal(_save(tmp_path / "v.pth", {"model": state}))


@pytest.mark.parametrize(
    "name", ["dec.ups.1.weight", "enc_p.encoder.attn_layers.0.emb_rel_k", "dec.resblocks.3.convs1.0.weight",
             "emb_g.weight", "dec.noise_convs.1.weight", "enc_p.emb_phone.weight",
             "dec.resblocks.0.convs1.2.weight"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [None, (0, 0), (0, 0, 0), (1, 1, 1), ()])
def test_base_generators_with_holes_are_refused(tmp_path: Path, name: str, shape: tuple[int, ...] | None):
    content = _base(SMALL)
    state = content["model"]
    if shape is None:
        del state[name]
    else:
        state[name] = torch.zeros(shape)
    _refusal(_save(tmp_path / "G.pth", content))


def test_far_numbers_are_refused(tmp_path: Path):
    for name in ("dec.ups.4000.weight", "enc_p.encoder.attn_layers.70.emb_rel_k", "dec.ups.99999999.weight"):
        content = _base(SMALL)
        content["model"][name] = torch.zeros(1, 1, 1)
        _refusal(_save(tmp_path / "G.pth", content))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    index=st.integers(0, NUM_CONFIG_VALUES - 1),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), lambda x: st.lists(x, max_size=4)
    ),
)
def test_any_config_value_loads_or_is_refused(tmp_path: Path, index: int, value: object):
    values = values_from_config(SMALL)
    values[index] = value
    path = _save(tmp_path / "v.pth", export(config=values))
    try:
        voice = load_voice_file(path)
    except InvalidModelFile:
        return
    assert isinstance(voice, VoiceCheckpoint)
    assert expected_shapes(voice.config).keys() == voice.state.keys()
