"""Options of posterior sampling, checked for a run."""

from __future__ import annotations

import math
from typing import get_args

from denoisplit.config.seeds import check_seed
from denoisplit.errors import InputError
from denoisplit.prediction.sampling import NoiseAddress, Sampling
from denoisplit.progress import logger
from denoisplit.run import Run

FEW = 8  # samples, below which their spread is unreliable


def sampling_of(
    run: Run, samples: int, seed: int, keep: int, noise_address: NoiseAddress, tolerance: float
) -> Sampling:
    """Return the options of sampling.

    Raises
    ------
    InputError
        If one is out of range, or the network cannot address noise by content.
    """
    check_seed(seed)
    for name, value, expected, is_valid in (
        ("samples", samples, "0 or more", samples >= 0),
        ("tolerance", tolerance, "0 or more", 0 <= tolerance < math.inf),
        ("keep_samples", keep, f"0 to {samples}, the number of samples", 0 <= keep <= samples),
    ):
        if not is_valid:
            raise InputError(
                where=name, found=str(value), expected=expected, remedy="choose another number"
            )
    if noise_address not in get_args(NoiseAddress):
        raise InputError(
            where="noise_address",
            found=repr(noise_address),
            expected="'position' or 'content'",
            remedy="choose one of the two",
        )
    if noise_address == "content" and not run.model.supports_content_noise:
        raise InputError(
            "noise cannot be addressed by content for a network that sees context",
            where="noise_address",
            remedy="choose 'position'",
        )
    prediction, quantum = run.config.settings.prediction, run.config.facts.content_quantum
    return Sampling(samples, seed, prediction.antithetic, noise_address, quantum, keep, tolerance)


def warn_of_few_samples(run: Run, samples: int) -> None:
    """Say what so few samples do not give."""
    if run.error_map is None and samples < 2:
        logger.warning(
            "no std is written: %s no spread, set `samples` to 2 or more, or add an error map with "
            "`denoisplit calibrate %s`",
            "one sample has" if samples else "a preview has",
            run.path,
        )
    elif samples == 1:
        logger.warning(
            "the split is one posterior sample, whose error is larger than the std, which is that "
            "of the decoded means; set `samples` to 0 for these"
        )
    elif 1 < samples < FEW:
        unreliable = "std, their spread, is unreliable"
        if run.error_map is not None:
            unreliable = "spread is unreliable; the std, by the error map, is not affected"
        logger.warning(
            "%d samples: the mean is noisier than with more, and the %s", samples, unreliable
        )
