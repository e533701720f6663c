"""What is computed on one thread."""

from collections.abc import Iterator

import pytest
import torch

from anivoice.models.cpu.threads import WorkThreads, one_thread
from anivoice.models.pauses import pausing, point


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


def test_torch_has_one_thread_inside_and_its_own_number_after_an_error() -> None:
    def fail() -> None:
        with one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert torch.get_num_threads() == 2


def test_nothing_comes_in_between_on_one_thread() -> None:
    seen: list[int] = []
    with pausing(lambda: seen.append(torch.get_num_threads())):
        with one_thread():
            point()
        point()
    assert seen == [2]


def test_work_is_shared_out_and_comes_back_in_order() -> None:
    threads = WorkThreads(2)
    try:
        assert threads.run(lambda item: (item, torch.is_inference_mode_enabled()), [3, 1, 2]) == [
            (3, True),
            (1, True),
            (2, True),
        ]
    finally:
        threads.shutdown()
