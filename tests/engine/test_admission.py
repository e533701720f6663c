"""Whether one more stream fits."""

import pytest

from anivoice.engine.admission import MAX_KINDS, Admission


def measured(cost_s: float, key: str = "v2 balanced") -> Admission:
    admission = Admission(max_load=0.8)
    for _ in range(50):
        admission.observe(key, cost_s)
    return admission


def test_streams_are_let_in_until_the_device_is_full() -> None:
    admission = measured(0.02)
    answers = [admission.admit(0.1, "v2 balanced") for _ in range(5)]
    assert answers[:4] == [None] * 4
    assert admission.load == pytest.approx(0.8)
    assert answers[4] is not None
    assert answers[4].retry_after_s
    assert "4 streams" in str(answers[4])
    assert admission.num_streams == 4


def test_who_leaves_makes_room() -> None:
    admission = measured(0.05)
    assert admission.admit(0.1, "v2 balanced") is None
    assert admission.admit(0.1, "v2 balanced") is not None
    admission.release(0.1, "v2 balanced")
    assert admission.load == 0
    assert admission.admit(0.1, "v2 balanced") is None


def test_nobody_leaves_who_has_not_come() -> None:
    with pytest.raises(ValueError, match="no such stream"):
        measured(0.01).release(0.1, "v2 balanced")


def test_a_block_that_never_fits_is_refused_for_good() -> None:
    refusal = measured(0.2).admit(0.16, "v2 balanced")
    assert refusal is not None
    assert refusal.retry_after_s is None
    assert "200 ms for a block of 160 ms" in str(refusal)


def test_a_block_that_takes_too_long_by_itself_is_refused_though_it_costs_little() -> None:
    admission = Admission()
    admission.observe("small", 0.05, 0.1, 0.1)
    refused = admission.admit(0.1, "small")
    assert refused is not None
    assert "100 ms for a block of 100 ms" in str(refused)
    assert admission.admit(0.2, "small") is None
    assert admission.load == pytest.approx(0.25)


def test_longer_blocks_of_the_same_cost_are_a_smaller_load() -> None:
    admission = measured(0.02)
    admission.admit(0.1, "v2 balanced")
    admission.admit(0.4, "v2 balanced")
    assert admission.load == pytest.approx(0.25)


def test_the_cost_follows_what_is_measured() -> None:
    admission = measured(0.02)
    admission.admit(0.1, "v2 balanced")
    for _ in range(100):
        admission.observe("v2 balanced", 0.06)
    assert admission.cost_s("v2 balanced") == pytest.approx(0.06, rel=0.01)
    assert admission.load == pytest.approx(0.6, rel=0.01)


def test_an_unknown_kind_counts_as_the_costliest_known() -> None:
    admission = measured(0.07)
    assert admission.cost_s("other") is None
    assert admission.p99_s("other") is None
    assert admission.admit(0.1, "other") is None
    assert admission.load == pytest.approx(0.7)
    assert Admission().admit(0.1, "first of all") is None


def test_the_p99_is_of_the_whole_batch() -> None:
    admission = Admission()
    for i in range(100):
        admission.observe("kind", 0.01, 0.04 if i < 99 else 0.5)
    p99_s = admission.p99_s("kind")
    assert p99_s is not None
    assert 0.04 <= p99_s <= 0.5
    assert admission.cost_s("kind") == pytest.approx(0.01)


def test_the_first_blocks_count_alike() -> None:
    admission = Admission()
    for cost_s in (0.03, 0.01, 0.02):
        admission.observe("kind", cost_s)
    cost = admission.cost("kind")
    assert cost is not None
    assert cost.mean_s == pytest.approx(0.02)
    assert cost.p99_s == pytest.approx(0.03, rel=0.01)
    assert cost.num_observed == 3


def test_a_forgotten_kind_is_unknown() -> None:
    admission = measured(0.02)
    admission.forget("v2 balanced")
    admission.forget("never seen")
    assert admission.cost("v2 balanced") is None


def test_kinds_are_bounded_and_those_that_run_stay() -> None:
    admission = measured(0.02)
    admission.admit(0.1, "v2 balanced")
    assert admission.has_streams("v2 balanced")
    for kind in range(3 * MAX_KINDS):
        admission.observe(kind, 0.01)
    assert len(admission._costs) == MAX_KINDS
    assert admission.cost("v2 balanced") is not None
    assert not admission.has_streams(3 * MAX_KINDS - 1)


def test_a_streams_first_block_counts_for_what_is_promised_but_not_for_the_cost() -> None:
    admission = Admission()
    admission.observe("kind", 0.05, 0.1)
    admission.observe("kind", 0.2, 0.4, begins=True)
    assert admission.cost_s("kind") == pytest.approx(0.05)
    assert admission.p99_s("kind") == pytest.approx(0.4, rel=0.02)


def test_where_nothing_else_is_known_a_streams_first_block_is_the_cost() -> None:
    admission = Admission()
    admission.observe("kind", 0.2, begins=True)
    assert admission.cost_s("kind") == pytest.approx(0.2)
