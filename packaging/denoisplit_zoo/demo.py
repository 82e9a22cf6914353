"""``denoisplit demo``: the whole workflow, from images to a tested package for bioimage.io."""

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
from denoisplit.config.everyday import DEMO
from denoisplit.config.options import documented
from denoisplit.data.prepare import prepare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_text
from denoisplit.files.json_file import read_json
from denoisplit.files.outputs import check_folder, make_parent
from denoisplit.images import read_frames, read_image, write_ome_tiff
from denoisplit.progress import logger
from denoisplit.report.page import REPORT
from denoisplit.report.tables import metrics_table
from denoisplit.run import METRICS, Run
from denoisplit_zoo.checking.bioimageio_program import run_bioimageio
from denoisplit_zoo.exporting.about import read_about

PathLike = str | Path

SIMULATED = ("filaments", "puncta")
TRAINING_FRAMES, TRAINING_SIDE, NEW_SIDE = 12, 256, 384  # simulated images; sides in px
PIXEL_SIZE_UM = {"x": 0.08, "y": 0.08}  # of the simulated images
MAX_STEPS, SAMPLES = 200, 16
POISSON, GAUSSIAN = 4.0, 1.0
PACKAGE_SAMPLES, PACKAGE_TILE = 2, 256
WHOLE_SIDE = 1024  # px; bioimageio predicts larger images in blocks

SIMULATED_NOTE = "The images are simulated; the results do not show how well real images are split."
CLEAN_NOTE = "The images are assumed to be free of noise, and noise is added to them."


@dataclass(frozen=True)
class DemoResult:
    """Result of a demo."""

    text: str  # table of metrics, result of bioimageio's test, and paths of the files
    passed: bool  # whether bioimageio's test passed


@documented(DEMO)
def demo(
    output: PathLike = "demo",
    structures: Mapping[str, Sequence[PathLike]] | None = None,
    *,
    max_steps: int = MAX_STEPS,
    samples: int = SAMPLES,
    synthetic_poisson: float = POISSON,
    synthetic_gaussian: float = GAUSSIAN,
    seed: int = 0,
    about: PathLike | None = None,
) -> DemoResult:
    """Train, calibrate, predict and export, then test and run the package with bioimageio.

    Existing results are kept, so an interrupted demo continues where it stopped.

    Parameters
    ----------
    {options}

    Raises
    ------
    InputError
        For invalid images or settings, or settings that differ from those of the existing results.
    """
    if samples < 2:
        problem = "the number must be 2 or more, since one sample has no standard deviation"
        raise InputError(problem, where="samples")
    metadata = read_about(about)  # reports a mistake now rather than after the training
    output = Path(output)
    check_folder(output)
    images = output / "images"
    mixed = images / f"{'' if structures else 'simulated_'}mixed.ome.tif"
    make_parent(mixed)
    note = CLEAN_NOTE if structures else SIMULATED_NOTE
    logger.info(note)
    files = structures or _simulated(
        images, "", frames=TRAINING_FRAMES, side=TRAINING_SIDE, seed=seed
    )
    noise: dict[str, Any] = {
        "synthetic_poisson": synthetic_poisson,
        "synthetic_gaussian": synthetic_gaussian,
    }

    _is_due("train and calibrate", output / "run" / REPORT)
    resume = (output / "run").exists()
    run = train(
        # a run knows the paths of its simulated images
        None if resume and structures is None else files,
        output / "run",
        preset="small",
        resume=resume,
        max_steps=max_steps,
        seed=seed,
        prediction={"calibration_samples": samples},
        **noise,
    )
    if _is_due("superpose images that were not used for training", mixed):
        if structures:
            unseen = _test_frames(run, images)
        else:
            unseen = _simulated(images, "_new", frames=1, side=NEW_SIDE, seed=seed + 1)
        superpose(unseen, mixed, run=run, seed=seed, **noise)
    split = output / "split" / mixed.name.replace(".ome", "_split.ome")
    if _is_due("split them", split):
        predict(run, [mixed], split.parent, samples=samples, seed=seed, keep_samples=2, add=True)
    package = output / "package.zip"
    if _is_due("export for bioimage.io", package):
        from denoisplit_zoo import export

        data = note if structures else f"Images simulated by `denoisplit demo`. {SIMULATED_NOTE}"
        if "training_data" in metadata.missing:
            metadata = metadata.model_copy(update={"training_data": data})
        export(run, package, samples=PACKAGE_SAMPLES, tile=PACKAGE_TILE, seed=seed, about=metadata)
    test = output / "bioimageio_test.json"
    if _is_due("bioimageio test", test if _passed(test, package) else None):
        _bioimageio(output, "test", package.name, f"--summary={test.name}", log="bioimageio_test")
    passed = _passed(test, package)
    by_bioimageio = output / "bioimageio_predict" / split.name.replace(".ome", "")
    if passed and _is_due("bioimageio predict", by_bioimageio):
        _bioimageio_predict(output, package, mixed, by_bioimageio)

    lines = [
        note,
        "",
        metrics_table(read_json(run.path / METRICS)),
        f"bioimageio test: {'passed' if passed else 'FAILED'} ({test})",
        f"report:          {run.path / REPORT}",
        f"package:         {package}",
        f"images:          {mixed} -> {split}",
    ]
    if by_bioimageio.exists():
        lines.append(f"                 {mixed} -> {by_bioimageio} (by bioimageio predict)")
    return DemoResult("\n".join(lines) + "\n", passed)


def _is_due(stage: str, result: Path | None) -> bool:
    """Log a stage, and return whether its result is still to be made."""
    exists = result is not None and result.exists()
    logger.info("demo: %s%s", stage, " (already done)" if exists else "")
    return not exists


def _simulated(
    folder: Path, suffix: str, *, frames: int, side: int, seed: int
) -> dict[str, list[Path]]:
    """Simulate images of each structure, unless they exist; their file names say so."""
    files = {}
    for kind in SIMULATED:
        name = f"simulated_{kind}"
        path = folder / f"{name}{suffix}.ome.tif"
        if _is_due(f"{path.name}, {frames} frames of {side} px", path):
            stack = simulate(kind, frames=frames, size=side, seed=seed)
            image = xr.DataArray(stack, dims=("t", "y", "x"))
            write_ome_tiff(path, image.assign_attrs(pixel_size_um=PIXEL_SIZE_UM))
        files[name] = [path]
    return files


def _test_frames(run: Run, folder: Path) -> dict[str, list[Path]]:
    """Write the first test frame of each structure of the user's images."""
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
    """Split an image with ``bioimageio predict``; the result appears when it is complete."""
    sides = [read_image(mixed).sizes[axis] for axis in ("y", "x")]
    if min(sides) < PACKAGE_TILE:
        text = "%s: %d x %d px are too small for the package, which needs at least %d px"
        logger.warning(text, mixed, *sides, PACKAGE_TILE)
        return
    draft = result.with_name(f"{result.stem}.draft.tif")
    make_parent(draft)
    draft.unlink(missing_ok=True)
    options = (
        f"--inputs={json.dumps([[mixed.relative_to(output).as_posix()]])}",
        f"--outputs={draft.relative_to(output).as_posix()}",
        f"--blockwise={max(sides) > WHOLE_SIDE}",
    )
    code = _bioimageio(output, "predict", package.name, *options, log="bioimageio_predict")
    if code or not draft.exists():
        logger.warning("bioimageio predict failed, see %s", output / "bioimageio_predict.log")
        return
    os.replace(draft, result)


def _bioimageio(output: Path, *arguments: str, log: str) -> int:
    """Run ``bioimageio`` in the demo's folder, write its output to a log, return its exit code."""
    code, text = run_bioimageio(output, *arguments)
    write_text(output / f"{log}.log", text)
    return code


def _passed(summary: Path, package: Path) -> bool:
    """Return whether bioimageio's test of this package passed, according to its summary."""
    if not summary.exists() or summary.stat().st_mtime < package.stat().st_mtime:
        return False
    return read_json(summary).get("status") == "passed"
