"""Batches that are cut while the network works."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from denoisplit.data.patches import EpochSampler
from denoisplit.training.loaders import PrefetchLoader


class Numbers(Dataset[Tensor]):
    """Item i is i; notes which were asked for and by which thread, fails at one of them."""

    def __init__(self, fails_at: int = -1) -> None:
        self.asked: list[int] = []
        self.threads: set[int] = set()
        self.fails_at = fails_at

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> Tensor:
        if number == self.fails_at:
            raise OSError("gone")
        self.asked.append(number)
        self.threads.add(threading.get_ident())
        return torch.tensor(number)


def test_batches_and_their_order_are_those_of_a_plain_loader_in_every_epoch() -> None:
    def batches(kind: type[DataLoader[Tensor]], epoch: int) -> list[list[int]]:
        sampler = EpochSampler(12)
        sampler.set_epoch(epoch)
        return [x.tolist() for x in kind(Numbers(), batch_size=5, sampler=sampler)]

    for epoch in (0, 1, 3):
        found = batches(PrefetchLoader, epoch)
        assert found == batches(DataLoader, epoch)
        assert found[0][0] == 12 * epoch
        assert [len(b) for b in found] == [5, 5, 2]


def test_next_batch_is_cut_while_the_caller_works() -> None:
    numbers = Numbers()
    batches = iter(PrefetchLoader(numbers, batch_size=4))
    next(batches)
    deadline = time.monotonic() + 10
    while len(numbers.asked) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert numbers.asked == list(range(8))  # one batch ahead, no more
    assert threading.get_ident() not in numbers.threads


def test_failure_reaches_the_caller_where_it_belongs() -> None:
    batches = iter(PrefetchLoader(Numbers(fails_at=5), batch_size=4))
    assert next(batches).tolist() == [0, 1, 2, 3]
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_left_early_it_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for batch in PrefetchLoader(Numbers(), batch_size=4):
        assert batch.tolist() == [0, 1, 2, 3]
        break
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
