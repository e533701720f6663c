"""What a client says about a stream: whatever it is, it is taken or refused, and never a fault of the server."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anivoice.errors import InvalidParameter, InvalidRequest
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source
from anivoice.server.json_text import parse_object
from anivoice.server.live.connection import _read_flag
from anivoice.server.live.voices import typical_window
from anivoice.voices.voice import Voice

CONFIG = SimpleNamespace(version="v2", has_f0=True, sample_rate_hz=40000, num_speakers=1)
VOICE = cast(Voice, SimpleNamespace(name="alice", config=CONFIG, encoder=CONFIG, unvoiced_f0="zero"))

ANY_PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "sample_rate": st.sampled_from([8000, 11025, 16000, 44100, 48000, 96001, 192000]),
        "output_sample_rate": st.sampled_from([None, 8000, 22050, 48000, 192000]),
        "format": st.sampled_from(["pcm_s16le", "pcm_f32le", "wav"]),
        "channels": st.sampled_from([1, 2]),
        "preset": st.sampled_from(["auto", "ultra", "low", "balanced", "quality"]),
        "block_ms": st.floats(20, 400),
        "context_ms": st.floats(0, 1000),
        "crossfade_ms": st.floats(10, 200),
        "lookahead_ms": st.floats(0, 500),
        "mode": st.sampled_from(["live", "reliable"]),
        "gate_db": st.floats(-120, 0),
        "passthrough": st.booleans(),
        "mute": st.booleans(),
        "volume_envelope": st.floats(0, 1),
    },
)


@settings(max_examples=40, deadline=None)
@example(values={"sample_rate": 8000, "block_ms": 20.0, "lookahead_ms": 0.0, "context_ms": 0.0}, gate_db=0.0)
@example(values={"sample_rate": 11025, "block_ms": 20.0, "crossfade_ms": 10.0, "lookahead_ms": 0.0}, gate_db=-17.0)
@given(values=ANY_PARAMETERS, gate_db=st.floats(-17, 0))
def test_every_combination_of_parameters_can_be_measured_and_streamed(values: dict[str, Any], gate_db: float) -> None:
    source = Source(VOICE, StreamParameters.model_validate({"gate_db": gate_db} | values), "pm")
    window = typical_window(source)
    assert window.load_key.algo == "pm"
    stream = LiveStream(source, 1)
    rate_hz = source.parameters.sample_rate
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, round(0.3 * rate_hz)).astype(np.float32)
    steps = [*stream.feed(samples), *stream.flush()]
    outputs = []
    for step in steps:
        stream.request(step)
        outputs.append(stream.finish(step, None))
    assert sum(map(len, outputs)) == round(len(samples) * source.parameters.wire_output[1] / rate_hz)


@pytest.mark.parametrize(
    "text", ['{"ping": NaN}', '{"ping": [1, -Infinity]}', '{"ping": 1e999}', '{"pitch_change": NaN}']
)
def test_numbers_that_json_does_not_have_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        parse_object(text, "the message")


def test_numbers_of_json_are_read() -> None:
    assert parse_object('{"ping": 1e3, "pitch_change": -0.5}', "it") == {"ping": 1000.0, "pitch_change": -0.5}


@pytest.mark.parametrize(("value", "flag"), [("false", False), ("0", False), (None, False), (0, False), (True, True)])
def test_a_flush_that_says_no_does_not_flush(value: object, flag: bool) -> None:
    assert _read_flag(value) is flag


def test_a_flush_that_says_neither_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="flush: true or false, not 'perhaps'"):
        _read_flag("perhaps")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ["balanced", "quality", "long", "longest"]),
        ({"context_ms": 500}, ["balanced", "quality", "long", "longest"]),
        ({"preset": "balanced"}, ["balanced"]),
        ({"block_ms": 60}, ["balanced"]),
        ({"preset": "auto"}, ["ultra", "low", "balanced", "quality", "long", "longest"]),
    ],
)
def test_who_chose_no_lengths_leaves_the_server_the_choice_of_longer_ones(
    values: dict[str, Any], names: list[str]
) -> None:
    assert [lengths.name for lengths in StreamParameters.model_validate(values).geometries] == names
