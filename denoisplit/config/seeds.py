"""Valid random seeds."""

from __future__ import annotations

from denoisplit.errors import InputError

SEEDS = 2**31 - 1  # as many as the addressed noise of the network tells apart


def check_seed(seed: int) -> None:
    """Refuse a seed out of range, which would give the noise of another one.

    Raises
    ------
    InputError
    """
    if not 0 <= seed < SEEDS:
        remedy = f"choose a number from 0 to {SEEDS - 1}"
        raise InputError(f"{seed} is not a valid seed", where="seed", remedy=remedy)
