"""``denoisplit figure``: figures of the paper from finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from denoisplit.config.seeds import check_seed
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.images import Files
from denoisplit.report.style import png
from denoisplit.reproduction.fig_s1 import figure as routes_figure
from denoisplit.reproduction.fig_s1 import scores_of
from denoisplit.reproduction.figure_inputs import Crop, subjects_of
from denoisplit.reproduction.paper_figures import (
    SAMPLES,
    fig_2,
    fig_3,
    fig_4,
    fig_calibration,
    fig_denoising,
    fig_noise_model,
    fig_s2,
    fig_s3,
    gif_of_samples,
)
from denoisplit.run import Run, load

PathLike = str | Path

KINDS = ("2", "3", "4", "calibration", "S1", "S2", "S3", "denoising", "noise-model", "sampling")
MANY = ("2", "4", "S1", "S2", "denoising")  # figures of one run or more; the others are of one
MEASURED = ("S1", "S2")  # from what the runs have measured


def figure(
    kind: str,
    runs: Run | PathLike | Sequence[Run | PathLike],
    output: PathLike,
    *,
    structures: Mapping[str, Files] | None = None,
    truth: Mapping[str, Files] | None = None,
    frame: int | None = None,
    crop: Crop | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Path:
    """Draw a figure of the paper from finished runs, on their test frames or on given images.

    Parameters
    ----------
    kind : str
        "2": whole frames, as split by every run. "3": samples, their difference and mean, and the
        calibration. "4": a part of a frame, as split by every run. "calibration": its plot alone.
        "S1": PSNR over the noise, of runs that differ in level and in the route to their noise
        models, from their metrics. "S2": the same of denoising and of splitting.
        "S3": calibration with 2 to 200 samples. "denoising": three random patches of each run,
        which are denoisers (system hdn). "noise-model": noise models and what they were fitted to.
        "sampling": an animation of the samples.
    runs : Run, path, or a sequence of them
        Several for "2", "4", "S1", "S2" and "denoising".
    output : path
        The PNG file, or GIF of "sampling".
    structures : mapping of name to files, optional
        Images of each structure in place of the test frames, superposed and given noise as by
        `denoisplit.evaluate`; raw intensities, frames (Y, X).
    truth : mapping of name to files, optional
        The same fields free of noise, for images with their own noise; no noise is added then.
    frame : int, optional
        Which frame, from 0; by default the first, and a random one of "sampling".
    crop : (y, x, side), optional
        The part that is shown by "3", "4" and "sampling", px; by default the 256 x 256 px of most
        contrast. Of "denoising" only the side counts.
    samples : int, optional
        Posterior samples, 50 by default; of "S3" the most that are drawn, 200 by default.
    seed : int
        Of samples, random choices, and noise that is added to given images.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        For runs, images or options that do not fit.
    """
    output = Path(output)
    check_seed(seed)
    named: list[Run | PathLike] = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    _check(kind, len(named), output, samples, structures, truth)
    if kind in MEASURED:
        folders = [run.path if isinstance(run, Run) else Path(run) for run in named]
        content = png(fig_s2(folders) if kind == "S2" else routes_figure(scores_of(folders)))
    else:
        content = _drawn(
            kind,
            [run if isinstance(run, Run) else load(run) for run in named],
            structures,
            truth,
            frame=frame,
            crop=crop,
            samples=50 if samples is None else samples,
            most=SAMPLES[-1] if samples is None else samples,
            seed=seed,
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, content)
    return output


def _check(
    kind: str,
    runs: int,
    output: Path,
    samples: int | None,
    structures: Mapping[str, Files] | None,
    truth: Mapping[str, Files] | None,
) -> None:
    """What can be told before anything is read."""
    if kind not in KINDS:
        raise InputError(
            where="figure",
            found=kind,
            expected=f"one of {', '.join(KINDS)}",
            remedy="choose one of them",
        )
    if runs < 1 or (runs > 1 and kind not in MANY):
        expected = "one run or more" if kind in MANY else "one run"
        raise InputError(
            where=f"figure {kind}",
            found=f"{runs} runs",
            expected=expected,
            remedy="name the run folders",
        )
    suffix = ".gif" if kind == "sampling" else ".png"
    if output.suffix.lower() != suffix:
        raise InputError(
            where=output,
            found=f"a name for {kind}",
            expected=f"one that ends with {suffix}",
            remedy="rename it",
        )
    if samples is not None and samples < 2:
        raise InputError(
            where="--samples",
            found=str(samples),
            expected="at least 2",
            remedy="give a larger number",
        )
    if kind in MEASURED and (structures or truth):
        raise InputError(
            where=f"figure {kind}",
            found="images beside the runs",
            expected="runs alone: it shows what they measured",
            remedy="leave out --structure and --truth",
        )
    if truth and not structures:
        raise InputError(
            where="--truth",
            found="no --structure beside it",
            expected="images with noise of the same fields",
            remedy="give --structure NAME FILES",
        )


def _drawn(
    kind: str,
    runs: Sequence[Run],
    structures: Mapping[str, Files] | None,
    truth: Mapping[str, Files] | None,
    *,
    frame: int | None,
    crop: Crop | None,
    samples: int,
    most: int,
    seed: int,
) -> bytes:
    """The content of the file."""
    if kind == "denoising":
        single = [
            subject
            for run in runs
            for subject in subjects_of([run], _of(run, structures), _of(run, truth), seed=seed)
        ]
        return png(fig_denoising(single, crop=crop, samples=samples, seed=seed))
    if kind == "noise-model" and not structures:
        return png(fig_noise_model(runs[0]))
    subjects = subjects_of(runs, structures, truth, seed=seed)
    first, number = subjects[0], frame or 0
    if kind == "sampling":
        return gif_of_samples(first, frame=frame, crop=crop, samples=samples, seed=seed)
    return png(
        fig_2(subjects, frame=number, samples=samples)
        if kind == "2"
        else fig_3(first, frame=number, crop=crop, samples=samples)
        if kind == "3"
        else fig_4(subjects, frame=number, crop=crop, samples=samples)
        if kind == "4"
        else fig_calibration(first, samples=samples)
        if kind == "calibration"
        else fig_s3(first, samples=[s for s in SAMPLES if s <= most])
        if kind == "S3"
        else fig_noise_model(first.run, first)
    )


def _of(run: Run, groups: Mapping[str, Files] | None) -> dict[str, Files] | None:
    """Those of the structures of a run."""
    return None if groups is None else {n: f for n, f in groups.items() if n in run.names}
