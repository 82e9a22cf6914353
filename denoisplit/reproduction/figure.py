"""``denoisplit figure``: draw figures of the paper from finished runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.commands import FIGURE
from denoisplit.config.options import documented
from denoisplit.config.seeds import check_seed
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.files.outputs import check_file, make_parent
from denoisplit.images import Files
from denoisplit.report.style import png
from denoisplit.reproduction import paper_figures
from denoisplit.reproduction.fig_s1 import FIG_S1
from denoisplit.reproduction.figure_inputs import Crop, FigureInput, View, inputs_of
from denoisplit.run import Run, load

PathLike = str | Path

# figures that show frames; the others show metrics
DRAW: dict[str, Callable[[Sequence[FigureInput], View], bytes]] = {
    "2": lambda inputs, view: png(paper_figures.fig_2(inputs, view)),
    "3": lambda inputs, view: png(paper_figures.fig_3(inputs[0], view)),
    "4": lambda inputs, view: png(paper_figures.fig_4(inputs, view)),
    "calibration": lambda inputs, view: png(paper_figures.fig_calibration(inputs[0], view)),
    "S3": lambda inputs, view: png(paper_figures.fig_s3(inputs[0], view)),
    "denoising": lambda inputs, view: png(paper_figures.fig_denoising(inputs, view)),
    "noise-model": lambda inputs, _: png(paper_figures.fig_noise_model(inputs[0].run, inputs[0])),
    "sampling": lambda inputs, view: paper_figures.gif_of_samples(inputs[0], view),
}
MEASURED = {
    "S1": lambda folders: png(FIG_S1.draw(FIG_S1.measure(folders))),
    "S2": lambda folders: png(paper_figures.fig_s2(folders)),
}
KINDS = ("2", "3", "4", "calibration", "S1", "S2", "S3", "denoising", "noise-model", "sampling")
OF_SEVERAL_RUNS = ("2", "4", "S1", "S2", "denoising")


@takes_arrays("structures", "truth")
@documented(FIGURE)
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

    Kinds: "2", whole frames, as split by every run. "3", samples, their difference and mean, and
    the calibration. "4", a region of a frame, as split by every run. "S1", PSNR over the noise, for
    runs that differ in level and in the route to their noise models. "S2", the same for denoising
    and splitting. "S3", calibration with 2 to 200 samples. "calibration", its plot alone.
    "denoising", three random patches of each run (system hdn). "noise-model", noise models and the
    pairs that they were fitted to. "sampling", an animation of the samples. "2", "4", "S1", "S2"
    and "denoising" take several runs; for "denoising" only the side of ``crop`` counts.

    Parameters
    ----------
    {options}

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError
        For an unknown kind, an invalid combination of arguments, unusable runs or images.
    """
    output = Path(output)
    check_seed(seed)
    several: list[Run | PathLike] = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    _check(kind, len(several), output, bool(structures), bool(truth))
    check_file(output)
    most = paper_figures.S3_SAMPLES[-1] if kind == "S3" else 50
    view = View(frame, crop, most if samples is None else samples, seed)
    if kind in MEASURED:
        folders = [run.path if isinstance(run, Run) else Path(run) for run in several]
        content = MEASURED[kind](folders)
    else:
        loaded = [run if isinstance(run, Run) else load(run) for run in several]
        content = _draw_frames(kind, loaded, structures, truth, view)
    make_parent(output)
    write_bytes(output, content)
    return output


def _check(kind: str, runs: int, output: Path, structures: bool, truth: bool) -> None:
    """Refuse a combination of arguments before any file is read."""
    if kind not in KINDS:
        raise InputError(where="kind", found=kind, expected=f"one of {', '.join(KINDS)}")
    if runs < 1 or (runs > 1 and kind not in OF_SEVERAL_RUNS):
        expected = "one run or more" if kind in OF_SEVERAL_RUNS else "one run"
        raise InputError(where=f"figure {kind}", found=f"{runs} runs", expected=expected)
    suffix = ".gif" if kind == "sampling" else ".png"
    if output.suffix.lower() != suffix:
        raise InputError(f"the file name of figure {kind} must end with {suffix}", where=output)
    if kind in MEASURED and (structures or truth):
        problem = "this figure shows the metrics of the runs and takes no images"
        remedy = "leave out `structures` and `truth`"
        raise InputError(problem, where=f"figure {kind}", remedy=remedy)
    if truth and not structures:
        problem = "the noisy images of the same fields are missing"
        raise InputError(problem, where="truth", remedy="provide them as `structures`")


def _draw_frames(
    kind: str,
    runs: Sequence[Run],
    structures: Mapping[str, Files] | None,
    truth: Mapping[str, Files] | None,
    view: View,
) -> bytes:
    """Return the content of the file of a figure that shows frames."""
    if kind == "noise-model" and not structures:
        return png(paper_figures.fig_noise_model(runs[0]))
    if kind != "denoising":
        return DRAW[kind](inputs_of(runs, structures, truth, seed=view.seed), view)
    inputs = []
    for run in runs:  # of different structures, each on its own images
        of_run = [
            None if group is None else {name: group[name] for name in group if name in run.names}
            for group in (structures, truth)
        ]
        inputs += inputs_of([run], *of_run, seed=view.seed)
    return DRAW[kind](inputs, view)
