"""Which seeds there are: those that the addresses of noise keep apart."""

from __future__ import annotations

from denoisplit.errors import InputError

SEEDS = 2**31 - 1


def check_seed(seed: int) -> None:
    """Refuse a seed that the addresses would take for another one."""
    if not 0 <= seed < SEEDS:
        raise InputError(
            where="--seed",
            found=str(seed),
            expected=f"a number from 0 to {SEEDS - 1}",
            remedy="choose another",
        )
