"""How well the alarm of ``denoisplit predict`` tells unusual images from those of the training.

    python benchmarks/alarm.py RUN --structure NAME FILES --structure NAME FILES
        [--other NAME FILES] [--poisson F --gaussian SIGMA] [--frames N]

FILES are clean images of fields that the run was not trained on; noise is added to them here, with
a Gaussian part in raw intensity. A run without an alarm gets one, which is not stored. Each
structure is replaced by every OTHER. Prints a table in Markdown: the area under the ROC curve for
single tiles and for means over frames, the share of tiles beyond the limit, the share of frames
that are warned of, and what is named most often.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

import denoisplit
from denoisplit.data.synthetic_noise import Address, SyntheticNoise
from denoisplit.evaluation.held_out import data_of_run, parts_of_training
from denoisplit.images import read_frames
from denoisplit.jobs.alarm import Alarm, Tiles
from denoisplit.jobs.alarm_file import read_alarm
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import Run
from denoisplit.training.calibration.alarm import fit_alarm
from denoisplit.training.loaders import allowed_sums

BLUR = 3.0  # px
Array = npt.NDArray[np.float32]


def alarm_of_run(run: Run) -> Alarm:
    """Read the alarm of a run, or fit one to its training images."""
    stored = read_alarm(run.path, len(run.names))
    if stored is not None:
        return stored
    parts = parts_of_training(data_of_run(run))
    training = parts.training.observed if parts.training is not None else []
    observed = [*parts.validation.observed, *training]
    models, options = run.noise_models(), run.config.settings.data
    sums = allowed_sums(models, binned=options.binned_crops, stacked=options.stacked_crops)
    fitted = fit_alarm(run.model, observed, run.superposition, models, tile=run.tile,
                       halo=run.halo, seed=0, sums=sums)  # fmt: skip
    if fitted is None:
        raise SystemExit("the frames of this run are smaller than a tile")
    return fitted


def auc(usual: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Return the area under the ROC curve."""
    ranks = rankdata(np.concatenate((usual, other)))[len(usual) :]
    above = ranks.sum() - len(other) * (len(other) + 1) / 2
    return float(above / (len(usual) * len(other)))


def inputs(
    run: Run, clean: list[list[Array]], others: dict[str, list[Array]], noise: SyntheticNoise
) -> dict[str, list[Array]]:
    """Return superposed images, as in the training and otherwise, by name."""

    def observed(structures: list[list[Array]]) -> list[list[Array]]:
        return [
            [noise.observe(f, Address(0, "evaluation", k, j)) for j, f in enumerate(frames)]
            for k, frames in enumerate(structures)
        ]

    def superposed(structures: list[list[Array]]) -> list[Array]:
        return [run.superposition(frame) for frame in zip(*observed(structures), strict=True)]

    count, usual = len(clean), superposed(clean)
    is_sum = run.superposition.kind == "sum"
    blurred = [[gaussian_filter(f, BLUR) for f in frames] for frames in clean]
    images: dict[str, list[Array]] = {
        "like the training": usual,
        "gain x 2": [2 * x for x in usual],
        "defocus": superposed(blurred),
        "mean for sum" if is_sum else "sum for mean": [
            (x / count if is_sum else x * count).astype(np.float32) for x in usual
        ],
    }
    for other, frames in others.items():
        for k, name in enumerate(run.names):
            swapped = [*clean[:k], frames, *clean[k + 1 :]]
            images[f"{name} replaced by {other}"] = superposed(swapped)
    return images


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--structure", nargs="+", action="append", required=True)
    parser.add_argument("--other", nargs="+", action="append", default=[])
    parser.add_argument("--poisson", type=float, default=0.0)
    parser.add_argument("--gaussian", type=float, default=0.0)
    parser.add_argument("--frames", type=int, default=12)
    args = parser.parse_args()
    run = denoisplit.load(args.run)
    alarm = alarm_of_run(run)

    def frames(words: list[str]) -> list[Array]:
        return [f.astype(np.float32) for f in read_frames(words[1:]).images[: args.frames]]

    named = {words[0]: frames(words) for words in args.structure}
    others = {words[0]: frames(words) for words in args.other}
    noise = SyntheticNoise(args.poisson, args.gaussian)
    model, sampling = inference_form(run.model), Sampling(0, 0, True)
    judged: dict[str, list[Tiles]] = {}
    for name, xs in inputs(run, [named[n] for n in run.names], others, noise).items():
        split = [predict_frame(model, x, sampling, tile=run.tile, halo=run.halo).mean for x in xs]
        judged[name] = [alarm.judge(x, means) for x, means in zip(xs, split, strict=True)]
    usual, *_ = judged.values()
    columns = ("images", "AUC, tiles", "AUC, frames", "tiles beyond the limit",
               "frames warned of", "named")  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, tiles in judged.items():
        pairs = [
            (np.concatenate([t.scores.ravel() for t in ts]), whole_scores(alarm, ts))
            for ts in (usual, tiles)
        ]
        (tile_usual, frame_usual), (tile_other, frame_other) = pairs
        records = [alarm.summary([t]) for t in tiles]
        names = Counter(word for record in records for word in record["what"])
        cells = (
            name, f"{auc(tile_usual, tile_other):.3f}", f"{auc(frame_usual, frame_other):.3f}",
            f"{100 * (tile_other > 1).mean():.1f} %",
            f"{sum(record['alarm'] for record in records)} of {len(records)}",
            ", ".join(f"{word} ({n})" for word, n in names.most_common(2)) or "-",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    print("\n".join(lines))


def whole_scores(alarm: Alarm, tiles: list[Tiles]) -> npt.NDArray[np.float64]:
    """Return the score of each frame as a whole, 1 at the limit."""
    means = np.stack([t.each.mean(axis=(0, 1)) for t in tiles])
    scores: npt.NDArray[np.float64] = (means * alarm.limits / alarm.image_limits).max(axis=1)
    return scores


if __name__ == "__main__":
    main()
