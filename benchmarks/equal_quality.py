"""Number of antithetic samples with the quality of many independent ones, on trained runs.

    python benchmarks/equal_quality.py RUN ER=er.tif actin=actin.tif [--independent 50] [--frames 4]

Splits superpositions of the given images (the run's test frames) and compares the PSNR of the mean
of 2, 4, 6, ... antithetic samples with that of independent ones, averaged over several groups of
each; then the mean in bfloat16 with that in float32.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import machine, table

from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.images import read_frames
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.network.inference import inference_form
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import load

CLOSE = 0.01  # dB
BF16_CLOSE = 0.02


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("structures", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--independent", type=int, default=50)
    parser.add_argument("--antithetic", type=int, default=16, help="largest number of samples")
    parser.add_argument(
        "--groups", type=int, default=2, help="groups of independent and of antithetic samples"
    )
    parser.add_argument("--frames", type=int, default=4)
    given = parser.parse_args()
    keep_freed_memory()
    run = load(given.run)
    settings, facts = run.config.settings, run.config.facts
    files = dict(entry.split("=", 1) for entry in given.structures)
    truth = []
    for name in run.names:
        frames = read_frames([files[name]]).images
        held = facts.held_out.get(name, {}).get("test") or range(len(frames))
        truth.append([frames[j] for j in held][: given.frames])
    noise = SyntheticNoise(settings.data.synthetic_poisson, facts.gaussian_sigma, facts.clip)
    test_frames = EvaluationFrames(truth, noise, run.superposition, seed=settings.seed, part="test")
    tiling = {"tile": run.tile, "halo": run.halo}

    def psnr(means: list[np.ndarray]) -> float:
        return float(np.mean([
            range_invariant_psnr(t, m)
            for truth, mean in zip(test_frames.truth, means, strict=True)
            for t, m in zip(truth, mean, strict=True)
        ]))  # fmt: skip

    model = inference_form(run.model)
    counts = list(range(2, given.antithetic + 1, 2))
    drawn: dict[int, list[float]] = {count: [] for count in counts}
    independent = []
    for group in range(given.groups):
        sampling = Sampling(given.independent, 100 + group, antithetic=False)
        independent.append(psnr([
            predict_frame(model, x, sampling, **tiling).mean for x in test_frames.inputs
        ]))  # fmt: skip
        most = max(counts)
        kept = [
            predict_frame(model, x, Sampling(most, 200 + group, keep=most), **tiling).samples
            for x in test_frames.inputs
        ]
        for count in counts:  # disjoint groups of this many samples
            for start in range(0, most - count + 1, count):
                drawn[count].append(psnr([k[start : start + count].mean(axis=0) for k in kept]))
    latent_means = psnr(
        [predict_frame(model, x, Sampling(0), **tiling).mean for x in test_frames.inputs]
    )
    target = float(np.mean(independent))
    rows = [
        [count, f"{np.mean(values):.3f}", f"{np.mean(values) - target:+.3f}"]
        for count, values in drawn.items()
    ]
    print(
        f"{machine()}\n\n{given.run}: {len(test_frames)} frames of {test_frames.inputs[0].shape}\n"
    )
    print(f"{given.independent} independent draws: {target:.3f} dB "
          f"({', '.join(f'{v:.3f}' for v in independent)}); means of the latents "
          f"{latent_means:.3f} dB\n")  # fmt: skip
    print(table(["antithetic draws", "PSNR, dB", "against independent ones"], rows))
    enough = next((n for n in counts if np.mean(drawn[n]) >= target - CLOSE), None)
    print(f"equal within {CLOSE} dB: {enough} draws")
    sampling = Sampling(given.antithetic, 0)
    low = Form("bf16").apply(run.model)
    values = [
        psnr([predict_frame(m, x, sampling, **tiling).mean for x in test_frames.inputs])
        for m in (model, low)
    ]
    print(f"mean of {given.antithetic} draws: float32 {values[0]:.4f} dB, bfloat16 "
          f"{values[1]:.4f} dB ({values[1] - values[0]:+.4f}; required: {BF16_CLOSE})")  # fmt: skip


if __name__ == "__main__":
    main()
