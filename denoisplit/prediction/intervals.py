"""Intervals around the decoded means: which coverages an error map has."""

from __future__ import annotations

import math

from denoisplit.errors import InputError
from denoisplit.network.error_map import ErrorMap

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # tabulated for every run


def interval_number(error_map: ErrorMap, coverage: float) -> int:
    """Return which of the tabulated intervals has a coverage.

    Parameters
    ----------
    coverage : float
        Share of pixels that the interval is to contain, 0 to 1.

    Raises
    ------
    InputError
        If there is none; others are not derived from those there are.
    """
    tabulated = [float(value) for value in error_map.coverages]
    for number, value in enumerate(tabulated):
        if math.isclose(value, coverage, abs_tol=1e-6):
            return number
    if not tabulated:
        problem = "this error map has no intervals"
        raise InputError(problem, where="interval", remedy="leave it out")
    raise InputError(
        where="interval",
        found=f"{coverage:g}",
        expected=f"one of {', '.join(f'{value:g}' for value in tabulated)}",
        remedy="choose one of them",
    )
