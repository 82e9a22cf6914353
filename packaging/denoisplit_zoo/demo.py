"""``denoisplit demo``: the whole way, from images to a package that the zoo's own tool runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from denoisplit.commands.predict import predict
from denoisplit.commands.superpose import superpose
from denoisplit.commands.train import train
from denoisplit.data.prepare import prepare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written, write_text
from denoisplit.files.json_file import read_json
from denoisplit.images import read_frames, read_image, write_ome_tiff
from denoisplit.progress import logger
from denoisplit.report.page import REPORT
from denoisplit.report.tables import metrics_table
from denoisplit.run import METRICS, Run
from denoisplit_zoo.checking.bioimageio_program import bioimageio
from denoisplit_zoo.exporting.about import read_about

PathLike = str | Path

KINDS = ("filaments", "puncta")
FRAMES, SIDE, NEW_SIDE = 24, 256, 384  # simulated frames to train with, and a new one to split; px
PIXEL_SIZE_UM = {"x": 0.08, "y": 0.08}  # that the simulated images claim
MAX_STEPS = 600
POISSON, GAUSSIAN = 4.0, 1.0
PACKAGE_SAMPLES, PACKAGE_TILE = 16, 256
WHOLE = 1024  # px; larger images go through bioimageio block by block

SIMULATED_NOTE = "The images are simulated: nothing here says how well real ones are split."
CLEAN_NOTE = "The images are taken as clean, and noise is added to them."


@dataclass(frozen=True)
class Demo:
    """What a demo has made.

    Attributes
    ----------
    text : str
        The table of metrics, whether bioimageio's test passed, and where everything is.
    passed : bool
        Whether bioimageio's test passed.
    """

    text: str
    passed: bool


def demo(
    output: PathLike = "demo",
    structures: Mapping[str, Sequence[PathLike]] | None = None,
    *,
    max_steps: int = MAX_STEPS,
    samples: int = 50,
    synthetic_poisson: float = POISSON,
    synthetic_gaussian: float = GAUSSIAN,
    seed: int = 0,
    about: PathLike | None = None,
) -> Demo:
    """Train, calibrate, predict, export, and let bioimageio test and run the package.

    What is there already is kept, so an interrupted demo goes on where it stopped.

    Parameters
    ----------
    output : path
        Folder of all results.
    structures : mapping of name to files, optional
        Clean, co-registered images of each structure; simulated ones by default.
    max_steps : int
        Of the training.
    samples : int
        Posterior samples of predictions and of the calibration.
    synthetic_poisson, synthetic_gaussian : float
        Noise to add, as in `denoisplit.train`.
    seed : int
        Of simulation, training, noise and samples.
    about : path, optional
        YAML file with authors, maintainers, licence, as of `denoisplit export`. The data statement
        of simulated images need not be in it.

    Raises
    ------
    InputError
        For images or settings that do not fit, also to those that the demo was begun with.
    """
    if samples < 2:
        raise InputError(
            where="--samples",
            found=str(samples),
            expected="2 or more",
            remedy="one sample has no spread",
        )
    said = read_about(about)  # a mistake in it shows now, not after the training
    output = Path(output)
    images = output / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(output, error) from error
    note = CLEAN_NOTE if structures else SIMULATED_NOTE
    logger.info(note)
    files = structures or _simulated(images, "", frames=FRAMES, side=SIDE, seed=seed)
    noise: dict[str, Any] = {
        "synthetic_poisson": synthetic_poisson,
        "synthetic_gaussian": synthetic_gaussian,
    }

    _stage("train and calibrate", output / "run" / REPORT)
    run = _trained(
        output / "run",
        files,
        own=structures is not None,
        max_steps=max_steps,
        seed=seed,
        prediction={"calibration_samples": samples},
        **noise,
    )
    mixed = images / f"{'' if structures else 'simulated_'}mixed.ome.tif"
    if _stage("superpose images that training never saw", mixed):
        if structures:
            new = _test_frames(run, images)
        else:
            new = _simulated(images, "_new", frames=1, side=NEW_SIDE, seed=seed + 1)
        superpose(new, mixed, run=run, seed=seed, **noise)
    split = output / "split" / mixed.name.replace(".ome", "_split.ome")
    if _stage("split them", split):
        predict(run, [mixed], split.parent, samples=samples, seed=seed, keep_samples=2, add=True)
    package = output / "package.zip"
    if _stage("export for bioimage.io", package):
        from denoisplit_zoo import export

        data = note if structures else f"Images simulated by `denoisplit demo`. {SIMULATED_NOTE}"
        if "training_data" in said.missing:
            said = said.model_copy(update={"training_data": data})
        export(
            run,
            package,
            kind="mmse",
            samples=PACKAGE_SAMPLES,
            tile=PACKAGE_TILE,
            seed=seed,
            about=said,
        )
    test = output / "bioimageio_test.json"
    if _stage("bioimageio test", test if _passed(test, package) else None):
        _bioimageio(output, "test", package.name, f"--summary={test.name}", log="bioimageio_test")
    passed = _passed(test, package)
    theirs = output / "bioimageio_predict" / split.name.replace(".ome", "")
    if passed and _stage("bioimageio predict", theirs):
        _bioimageio_predict(output, package, mixed, theirs)

    lines = [
        note,
        "",
        metrics_table(read_json(run.path / METRICS)),
        f"bioimageio test: {'passed' if passed else 'FAILED'} ({test})",
        f"report:          {run.path / REPORT}",
        f"package:         {package}",
        f"images:          {mixed} -> {split}",
    ]
    if theirs.exists():
        lines.append(f"                 {mixed} -> {theirs} (by bioimageio predict)")
    return Demo("\n".join(lines) + "\n", passed)


def _stage(name: str, result: Path | None) -> bool:
    """Say what comes; whether it is still to be done."""
    there = result is not None and result.exists()
    logger.info("demo: %s%s", name, " (done before)" if there else "")
    return not there


def _simulated(
    folder: Path, ending: str, *, frames: int, side: int, seed: int
) -> dict[str, list[Path]]:
    """Simulated images of every kind, made unless they are there; their names say what they are."""
    files = {}
    for kind in KINDS:
        name = f"simulated_{kind}"
        path = folder / f"{name}{ending}.ome.tif"
        if _stage(f"{path.name}, {frames} frames of {side} px", path):
            stack = simulate(kind, frames=frames, size=side, seed=seed)
            image = xr.DataArray(stack, dims=("t", "y", "x"))
            write_ome_tiff(path, image.assign_attrs(pixel_size_um=PIXEL_SIZE_UM))
        files[name] = [path]
    return files


def _trained(
    run: Path, files: Mapping[str, Sequence[PathLike]], *, own: bool, **options: Any
) -> Run:
    """The trained run: a new one, or the one that was begun."""
    resume = run.exists()
    # of simulated images the run knows best where they lie
    given = files if own or not resume else None
    return train(given, run, preset="small", resume=resume, **options)


def _test_frames(run: Run, folder: Path) -> dict[str, list[Path]]:
    """The first test frame of every structure of the user's images."""
    settings = run.config.settings
    data = prepare([read_frames(s.files).images for s in settings.structures], settings)
    files = {}
    for name, frames in zip(run.names, data.clean.test, strict=True):
        path = folder / f"{name}_test.ome.tif"
        image = xr.DataArray(frames[0], dims=("y", "x"))
        size = run.config.facts.pixel_size_um
        write_ome_tiff(path, image.assign_attrs(pixel_size_um=size), overwrite=True)
        files[name] = [path]
    return files


def _bioimageio_predict(output: Path, package: Path, mixed: Path, result: Path) -> None:
    """Split an image with bioimageio's own command; the result appears when it is whole."""
    side = [read_image(mixed).sizes[axis] for axis in ("y", "x")]
    if min(side) < PACKAGE_TILE:
        logger.warning(
            "%s: %d x %d px, too small for the package, which takes %d px and more",
            mixed,
            *side,
            PACKAGE_TILE,
        )
        return
    draft = result.with_name(f"{result.stem}.draft.tif")
    draft.parent.mkdir(exist_ok=True)
    draft.unlink(missing_ok=True)
    inputs = json.dumps([[mixed.relative_to(output).as_posix()]])
    code = _bioimageio(
        output,
        "predict",
        package.name,
        f"--inputs={inputs}",
        f"--outputs={draft.relative_to(output).as_posix()}",
        f"--blockwise={max(side) > WHOLE}",
        log="bioimageio_predict",
    )
    if code or not draft.exists():
        logger.warning("bioimageio predict failed, see %s", output / "bioimageio_predict.log")
        return
    os.replace(draft, result)


def _bioimageio(output: Path, *arguments: str, log: str) -> int:
    """Run bioimageio's command in the demo's folder, its cache included; returns the exit code."""
    code, said = bioimageio(output, *arguments)
    write_text(output / f"{log}.log", said)
    return code


def _passed(summary: Path, package: Path) -> bool:
    """Whether bioimageio's own summary of its test says so, of this very package."""
    if not summary.exists() or summary.stat().st_mtime < package.stat().st_mtime:
        return False
    return read_json(summary).get("status") == "passed"
