"""What is computed on one thread."""

from collections.abc import Iterator

import pytest
import torch

from anivoice.models.cpu.threads import on_one_thread, one_thread


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


def test_each_step_has_one_thread_and_the_pauses_have_all() -> None:
    def steps() -> Iterator[int]:
        yield torch.get_num_threads()
        yield torch.get_num_threads()
        return torch.get_num_threads()

    def all_steps() -> Iterator[int]:
        assert (yield from on_one_thread(steps())) == 1

    for seen in all_steps():
        assert (seen, torch.get_num_threads()) == (1, 2)
    assert torch.get_num_threads() == 2
