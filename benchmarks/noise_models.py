"""How well noise models fit real and simulated noise, and how long the fit takes.

    python benchmarks/noise_models.py [DATA] [--denoiser]

DATA is the folder of test images. With --denoiser, noise models are also fitted to noisy images
alone (route C), which trains two denoisers for minutes. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import denoisplit
from denoisplit.config.groups import NoiseModelSettings
from denoisplit.config.settings import settings_from
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.images import read_frames, read_repeats
from denoisplit.noise_models.from_noisy import pairs_of_noisy
from denoisplit.noise_models.goodness_of_fit import JUDGED, Quality, fit_pairs
from denoisplit.noise_models.pairs import Pairs, from_clean, from_exposures, from_repeats

COLUMNS = ("noise", "pairs", "worst bin of variance, %", "gain", "KS", "nat above a Gaussian",
           "nat above a histogram", "fit, s")  # fmt: skip


def row(name: str, make: Callable[[], Pairs]) -> str:
    """Fit a noise model and return its line of the table."""
    pairs = make()
    start = time.perf_counter()
    _, quality = fit_pairs(pairs, NoiseModelSettings(), seed=0)
    seconds = time.perf_counter() - start
    cells = (
        name, f"{quality.pairs + quality.held_out:,}", f"{worst(quality):.1f}",
        f"{quality.gain:.2f}", f"{quality.ks:.4f}",
        f"{quality.log_likelihood - quality.gaussian:+.3f}",
        f"{quality.log_likelihood - quality.histogram:+.3f}", f"{seconds:.1f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def worst(quality: Quality) -> float:
    """Return the largest error of the variance among bins with many pairs, per cent."""
    bins = quality.bins
    judged = bins.count >= JUDGED
    return 100 * float(np.abs(bins.model[judged] / bins.measured[judged] - 1).max())


def simulated(scale: float, offset: float, pixels: int) -> Pairs:
    """Simulate Poisson and Gaussian noise of signals that are spread over a range."""
    signal = offset + scale * np.random.default_rng(0).random((1000, pixels // 1000))
    noise = SyntheticNoise(scale / 100, scale / 50)
    return from_clean(frames=[signal], noise=noise)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="../shared/data", type=Path)
    parser.add_argument(
        "--denoiser", action="store_true", help="also fit to noisy images alone (minutes)"
    )
    given = parser.parse_args()
    cells, nuclei = given.data / "hagen_actin_mito/60x", given.data / "fmd_nuclei_repeats"
    rows: dict[str, Callable[[], Pairs]] = {
        f"{file.stem}, shots of a static scene": lambda file=file: from_repeats(
            stacks=read_repeats(file)
        )
        for file in sorted(nuclei.glob("*.tif"))
    }
    for name in ("actin", "mito"):
        low, high = (read_frames(cells / f"{name}_{end}.tif").images for end in ("low", "high"))
        rows[f"{name} 60x, long and short exposure"] = lambda low=low, high=high: from_exposures(
            signal=high, observed=low
        )
        if given.denoiser:
            n2v = settings_from(
                {"structures": [{"name": "x", "files": ["x"]}], "preset": "small"}
            ).n2v
            rows[f"{name} 60x, noisy image alone"] = lambda low=low, n2v=n2v: pairs_of_noisy(
                low, n2v, seed=0
            )
    rows |= {
        "simulated, [0, 1]": lambda: simulated(1, 0, 1_000_000),
        "simulated, 8 bit": lambda: simulated(200, 20, 1_000_000),
        "simulated, 16 bit with offset": lambda: simulated(30000, 32768, 1_000_000),
        "simulated, 5 million pairs": lambda: simulated(200, 20, 5_000_000),
    }
    print(
        f"denoisplit {denoisplit.__version__}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{'---|' * len(COLUMNS)}")
    for name, make in rows.items():
        print(row(name, make), flush=True)


if __name__ == "__main__":
    main()
