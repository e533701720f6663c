import pytest

from anivoice.errors import InvalidParameter
from anivoice.stages.pitch.methods import PITCH_METHODS, format_pitch_algo, parse_pitch_algo


@pytest.mark.parametrize("method", PITCH_METHODS)
def test_every_method_names_itself(method: str) -> None:
    assert parse_pitch_algo(method) == (method,)


@pytest.mark.parametrize(
    "text", ["hybrid[rmvpe+crepe-tiny]", " Hybrid[ RMVPE + Crepe-Tiny ] ", "hybrid [rmvpe+crepe-tiny]"]
)
def test_hybrid_keeps_order_and_ignores_case_and_spaces(text: str) -> None:
    assert parse_pitch_algo(text) == ("rmvpe", "crepe-tiny")


def test_canonical_spelling() -> None:
    assert format_pitch_algo(parse_pitch_algo(" Hybrid[ PM + dio ]")) == "hybrid[pm+dio]"
    assert format_pitch_algo(parse_pitch_algo("FCPE ")) == "fcpe"


@pytest.mark.parametrize("text", ["", "yin", "hybrid", "hybrid[]", "hybrid[rmvpe+yin]", "hybrid[hybrid[pm+dio]+fcpe]"])
def test_unknown_method_lists_the_known_ones(text: str) -> None:
    with pytest.raises(InvalidParameter, match="pitch_extraction_algo") as caught:
        parse_pitch_algo(text)
    assert text in ("hybrid[]",) or all(method in str(caught.value) for method in PITCH_METHODS)


@pytest.mark.parametrize("text", ["hybrid[rmvpe]", "hybrid[rmvpe+fcpe+pm]"])
def test_hybrid_needs_exactly_two(text: str) -> None:
    with pytest.raises(InvalidParameter, match="exactly two"):
        parse_pitch_algo(text)


def test_hybrid_needs_two_different_methods() -> None:
    with pytest.raises(InvalidParameter, match="with itself"):
        parse_pitch_algo("hybrid[pm+PM]")


def test_a_long_name_is_shortened_in_the_message() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_pitch_algo("x" * 100_000)
    assert len(str(caught.value)) < 300
