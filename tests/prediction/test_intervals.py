"""Which coverages an error map has."""

from __future__ import annotations

import pytest

from denoisplit.errors import InputError
from denoisplit.network.vse import VSE
from denoisplit.prediction.intervals import COVERAGES, interval_number

from ..network.test_error_map import random_error_map

NETWORK = VSE(2, filters=2, latents=2, levels=2, patch=8)


def test_every_tabulated_coverage_is_found() -> None:
    error_map = random_error_map(NETWORK, COVERAGES)
    assert [interval_number(error_map, c) for c in COVERAGES] == list(range(len(COVERAGES)))


@pytest.mark.parametrize("coverage", [0.85, 0.901, 0.0, 1.0, 90.0, float("nan")])
def test_another_coverage_is_refused_with_those_there_are(coverage: float) -> None:
    with pytest.raises(InputError, match=r"interval: found .*, expected one of 0\.5, 0\.9;"):
        interval_number(random_error_map(NETWORK, (0.5, 0.9)), coverage)


def test_a_map_without_intervals_says_so() -> None:
    with pytest.raises(InputError, match="interval: this error map has no intervals"):
        interval_number(random_error_map(NETWORK, ()), 0.9)
