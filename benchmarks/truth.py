"""What a run says of its results against the truth: errors, error bars, intervals, verdicts.

    python benchmarks/truth.py RUN --observed ER=er.tif actin=actin.tif --truth ER=... actin=...

Splits superpositions of recorded images that neither network, error map nor calibration has seen.
Errors are estimated from these noisy images alone, and compared with those by the truth; error bars
and intervals are compared with true errors. With ``--aligned``, gain and offset of the truth are
fitted to the recorded images first. ``--synthetic`` adds the noise of the training to clean images,
which are given by ``--truth`` alone.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from common import machine, table

from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.error_bars import score_error_bars
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.judge import Judge, Judged, judge_frames, judge_of, stored_groups
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.evaluation.risk import SquaredErrors, estimate
from denoisplit.evaluation.separate_truth import frames_from_structures
from denoisplit.images import read_frames
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import ErrorMapping, predict_frame
from denoisplit.run import Run, load

Array = npt.NDArray[np.float32]

RESOLVED = 0.15  # of the noise's std: of smaller errors only an upper bound is known
DECILES = np.arange(1, 10) / 10


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--observed", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--truth", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of synthetic noise and samples")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame")
    parser.add_argument("--frames", type=int, default=12, help="most frames")
    given = parser.parse_args()
    keep_freed_memory()
    run = load(given.run)
    chosen = slice(given.first, given.first + given.frames)
    known, recorded = _frames(run, given, chosen)
    judge = replace(judge_of(run), seed=given.seed)
    print(f"{machine()}\n\n{given.run}: {len(known)} frames, {given.samples} samples\n")
    mapping = run.mapping(0.9)
    sampling = judge.sampling(given.samples, keep=1)
    groups = stored_groups(run)
    by_truth = judge_frames(judge, known, sampling, mapping, groups)
    print(_verdicts("by the truth", by_truth))
    if recorded is not None and judge.can_judge(recorded):
        estimated = judge_frames(judge, recorded, sampling, mapping, groups)
        print(_verdicts("estimated", estimated))
        print(_errors(judge, run, known, by_truth, estimated))
        print(_errors_by_decile(judge, by_truth, estimated))
    _error_bars(judge, run, by_truth, groups)
    print(_one_pass(judge, known, by_truth, mapping))


def _frames(
    run: Run, given: Any, chosen: slice
) -> tuple[EvaluationFrames, EvaluationFrames | None]:
    """Return the frames with their truth, and the same without it where noise was recorded."""
    truth = _read(run, given.truth, chosen)
    if given.synthetic:
        settings, facts = run.config.settings, run.config.facts
        noise = SyntheticNoise(settings.data.synthetic_poisson, facts.gaussian_sigma, facts.clip)
        frames = EvaluationFrames(
            truth, noise, run.superposition, seed=given.seed, part="evaluation"
        )
        return frames, None
    observed = _read(run, given.observed, chosen)
    recorded = EvaluationFrames(
        observed, SyntheticNoise(), run.superposition, seed=given.seed, part="evaluation"
    )
    if given.aligned:
        return frames_from_structures(observed, truth, run.superposition), recorded
    known = copy.copy(recorded)
    known.truth = [np.stack(t).astype(np.float32) for t in zip(*truth, strict=True)]
    known.clean_inputs = [run.superposition(t) for t in known.truth]
    known.has_truth = True
    return known, recorded


def _read(
    run: Run, entries: Sequence[str], chosen: slice
) -> tuple[tuple[npt.NDArray[Any], ...], ...]:
    files = dict(entry.split("=", 1) for entry in entries)
    return tuple(tuple(read_frames([files[name]]).images[chosen]) for name in run.names)


def _verdicts(how: str, judged: Judged) -> str:
    lines = [f"- {one.verdict.sentence}" for one in judged.judgements]
    return f"Verdicts, {how}:\n\n" + "\n".join(lines) + "\n"


def _errors(
    judge: Judge, run: Run, known: EvaluationFrames, by_truth: Judged, estimated: Judged
) -> str:
    """Compare estimated errors, PSNR and calibration factors with those by the truth."""
    rows = []
    for k, name in enumerate(judge.names):
        true, guess = (estimate(_given(j.errors), k) for j in (by_truth, estimated))
        spread = np.concatenate([_given(p.spread)[k].ravel() for p in by_truth.predictions])
        claimed = math.sqrt(float(np.mean(spread.astype(np.float64) ** 2)))
        value, low, high = (math.sqrt(max(0.0, v)) for v in (guess.value, guess.low, guess.high))
        rmse = math.sqrt(true.value)
        decibels = 20 * math.log10(rmse / value) if value else math.nan
        rows.append(
            [
                name,
                f"{value:.2f} ({low:.2f} to {high:.2f})",
                f"{rmse:.2f}",
                f"{value / rmse - 1:+.1%}",
                f"{decibels:+.2f} dB",
                f"{value / claimed:.2f}",
                f"{rmse / claimed:.2f}",
                f"{run.calibration[name]:.2f}",
            ]
        )
    head = ["structure", "RMSE, estimated", "true", "difference", "PSNR differs by"]
    factors = ["factor, estimated here", "true here", "stored in the run"]
    return "Errors of the posterior mean, raw intensity:\n\n" + table([*head, *factors], rows)


def _errors_by_decile(judge: Judge, by_truth: Judged, estimated: Judged) -> str:
    """Compare estimated errors with true ones, by decile of the error map.

    Errors that noise hides are bounded by what the error map claims.
    """
    rows = []
    for k, name in enumerate(judge.names):
        stds = [_given(p.bars).std[k] for p in by_truth.predictions]
        edges = np.quantile(np.concatenate([s.ravel() for s in stds]), DECILES)
        cells = []
        for number in range(len(DECILES) + 1):
            where = [np.searchsorted(edges, s, side="right") == number for s in stds]
            true = estimate(_given(by_truth.decoded_errors), k, where).value
            guess = estimate(_given(estimated.decoded_errors), k, where)
            noise = [
                _given(e.noise)[k][w]
                for e, w in zip(_given(estimated.decoded_errors), where, strict=True)
            ]
            share = math.sqrt(true / float(np.concatenate(noise).mean(dtype=np.float64)))
            ratio = math.sqrt(max(0.0, guess.value) / true)
            claimed = np.concatenate([s[w] for s, w in zip(stds, where, strict=True)])
            most = float(np.sqrt(np.mean(claimed.astype(np.float64) ** 2) / true))
            bound = "" if share > RESOLVED else f" (at most {most:.1f})"
            cells.append(f"{ratio:.2f} of {share:.2f}{bound}")
        rows.append([name, *cells])
    head = ["structure", *(f"decile {n + 1}" for n in range(len(DECILES) + 1))]
    title = "Estimated over true RMSE, of the true RMSE over the noise's std, by the error map:\n\n"
    return title + table(head, rows)


def _error_bars(judge: Judge, run: Run, judged: Judged, groups: list[Any]) -> None:
    """Print scores of the error map, and of the scaled spread, by true errors."""
    bars = [_given(p.bars) for p in judged.predictions]
    scores = score_error_bars(
        bars,
        _given(judged.decoded_errors),
        groups,
        judge.names,
        spreads=[_given(p.spread) * run.factors for p in judged.predictions],
        spread_errors=judged.errors,
    )
    rows = []
    for k, name in enumerate(judge.names):
        one = scores[name]
        errors = _given(judged.decoded_errors)
        scalar = _by_intensity(
            bars, errors, k, [_given(p.spread)[k] * run.factors[k] for p in judged.predictions]
        )
        mapped = _by_intensity(bars, errors, k, [bar.std[k] for bar in bars])
        covered = _coverage(bars, errors, k)
        print(f"{name}, error over claimed by decile of intensity, dark to bright:\n")
        print(
            table(
                ["", *(f"{n + 1}" for n in range(10))],
                [
                    ["scaled spread", *scalar],
                    ["error map", *mapped],
                    ["90 % interval covers", *covered],
                ],
            )
        )
        rows.append(
            [
                name,
                f"{one['ause_spread']:.3f}",
                f"{one['ause']:.3f}",
                f"{one['ause'] / one['ause_spread']:.2f}",
                f"{one['spearman_spread']:.2f}",
                f"{one['spearman']:.2f}",
                f"{one['coverage']:.3f}",
                f"{one['mean_width']:.1f}",
                f"{_scalar_width(judged, errors, k):.1f}",
            ]
        )
    head = ["structure", "AUSE, scaled spread", "AUSE, error map", "ratio"]
    ranks = ["Spearman, scaled spread", "Spearman, error map"]
    print(
        table([*head, *ranks, "coverage", "width", "width of the scalar's at equal coverage"], rows)
    )


def _deciles(bars: Sequence[Any], k: int) -> list[Any]:
    """Return the decile of local intensity of every pixel, frame by frame."""
    from denoisplit.evaluation.groups import local_intensities

    values = [frame[k] for frame in local_intensities([bar.decoded for bar in bars])]
    edges = np.quantile(np.concatenate([v.ravel() for v in values]), DECILES)
    return [np.searchsorted(edges, v, side="right") for v in values]


def _by_intensity(
    bars: Sequence[Any], errors: Sequence[SquaredErrors], k: int, stds: Sequence[Array]
) -> list[str]:
    index = np.concatenate([i.ravel() for i in _deciles(bars, k)])
    squared = np.concatenate([e.values[k].ravel() for e in errors]).astype(np.float64)
    claimed = np.concatenate([s.ravel() for s in stds]).astype(np.float64) ** 2
    return [
        f"{math.sqrt(squared[index == n].mean() / claimed[index == n].mean()):.2f}"
        for n in range(10)
    ]


def _coverage(bars: Sequence[Any], errors: Sequence[SquaredErrors], k: int) -> list[str]:
    index = np.concatenate([i.ravel() for i in _deciles(bars, k)])
    inside = np.concatenate(
        [
            (np.sqrt(e.values[k]) <= bar.half_width[k]).ravel()
            for e, bar in zip(errors, bars, strict=True)
        ]
    )
    return [f"{inside[index == n].mean():.2f}" for n in range(10)]


def _scalar_width(judged: Judged, errors: Sequence[SquaredErrors], k: int) -> float:
    """Return the mean width of the interval of one factor on the spread that covers 90 %."""
    spread = np.concatenate([_given(p.spread)[k].ravel() for p in judged.predictions])
    error = np.concatenate([np.sqrt(e.values[k]).ravel() for e in errors])
    factor = float(np.quantile(error / np.maximum(spread, 1e-6), 0.9))
    return 2 * factor * float(spread.mean())


def _one_pass(
    judge: Judge, known: EvaluationFrames, judged: Judged, mapping: ErrorMapping | None
) -> str:
    """Compare decoded means with posterior means, and the time of one pass with 16 samples."""
    rows = []
    for k, name in enumerate(judge.names):
        psnr = [
            np.mean(
                [
                    range_invariant_psnr(t[k], image[k])
                    for t, image in zip(known.truth, images, strict=True)
                ]
            )
            for images in (
                [p.mean for p in judged.predictions],
                [_given(p.bars).decoded for p in judged.predictions],
            )
        ]
        rows.append([name, f"{psnr[0]:.2f}", f"{psnr[1]:.2f}", f"{psnr[1] - psnr[0]:+.2f} dB"])
    model, taken = inference_form(judge.model), {}
    for samples in (0, 16):
        options: Mapping[str, Any] = {"tile": judge.tile, "halo": judge.halo, "mapping": mapping}
        start = time.process_time()
        predict_frame(model, known.inputs[0], judge.sampling(samples), **options)
        taken[samples] = time.process_time() - start
    head = ["structure", "PSNR, samples", "PSNR, one pass", "difference"]
    ratio = f"16 samples take {taken[16] / taken[0]:.1f} times as long as one pass.\n"
    return table(head, rows) + "\n" + ratio


def _given(value: Any) -> Any:
    """Return a value that must exist."""
    if value is None:
        raise SystemExit("this run has no error map; add one with `denoisplit calibrate`")
    return value


if __name__ == "__main__":
    main()
