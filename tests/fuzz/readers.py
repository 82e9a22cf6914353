"""What reads the damaged files: functions of the library, and commands as users call them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import denoisplit_zoo.checking.check as checking
import denoisplit_zoo.exporting.about
import denoisplit_zoo.importing.weights

from denoisplit.cli.main import main
from denoisplit.cli.yaml_options import from_yaml
from denoisplit.commands import predict, train  # noqa: F401
from denoisplit.config.commands import COMMANDS
from denoisplit.config.settings import settings_from
from denoisplit.files.tensors import read_checkpoint
from denoisplit.files.yaml_file import read_yaml
from denoisplit.files.zip_file import read_zip
from denoisplit.images import open_image, read_image
from denoisplit.images.formats.zarr import is_zarr
from denoisplit.jobs.alarm_file import read_alarm
from denoisplit.noise_models import GaussianMixture
from denoisplit.report.plots import read_history
from denoisplit.run import CALIBRATION, CHECKPOINTS, load, load_config

Read = Callable[[Path, Path], Any]  # of a file or folder, and an output folder


class Reader(NamedTuple):
    """A reader, the seeds that it reads, and the files in them that are damaged."""

    read: Read
    seeds: str  # pattern in the folder of seeds; a folder is copied as a whole
    damaged: str = ""  # pattern in a folder
    share: int = 4  # of the cases
    accepts: bool = True  # the seeds, without damage


class RefusedError(Exception):
    """A command that has ended with the exit code of bad input."""


def _image(path: Path, out: Path) -> None:
    """Read an image both ways, as training and prediction do."""
    image = open_image(path)
    for plane in islice(image.planes(), 3):
        _ = plane[0:32, 0:32]
    if is_zarr(path):
        image.middle(64)
    read_image(path)


def _settings(path: Path, out: Path) -> None:
    settings_from(read_yaml(path))


def _run(path: Path, out: Path) -> None:
    run = load(path, device="cpu")
    read_alarm(path, len(run.names))
    run.noise_models()


def command(*words: Any) -> None:
    """Call a command as the command line does."""
    with redirect_stdout(io.StringIO()):
        if main([*map(str, words), "--quiet"] if words[0] != "check" else [*map(str, words)]) == 2:
            raise RefusedError


def _predict_image(path: Path, out: Path) -> None:
    run = path.parent / "run"
    command("predict", run, path, "-o", out / "split", "--samples", 0, "--tile", 32)


def _predict_run(path: Path, out: Path) -> None:
    image = path.parent / "mixed.ome.zarr"
    command("predict", path, image, "-o", out / "split", "--samples", 0, "--tile", 32)


def _resume(path: Path, out: Path) -> None:
    made = path.rename(out / "split") / "mixed_split.unfinished"
    words = ("--samples", 0, "--tile", 32, "--halo", 32, "--resume")
    command(
        "predict", path.parent / "run", path.parent / "mixed.ome.zarr", "-o", made.parent, *words
    )


def _check(path: Path, out: Path) -> None:
    """Check a package; bioimageio, which takes half a minute, is not started."""
    checking.look_up_accounts = lambda _: ([], [])
    checking.run_bioimageio = lambda *_, **__: (1, "not started")  # type: ignore[assignment]
    checking._in_bioengine = lambda *_: iter(())  # type: ignore[assignment]
    with path.open("rb") as stream:
        whole: Mapping[str, bytes] = {}
        with suppress(ValueError):
            whole = read_zip(stream, most_files=100, most_bytes=2**28)
    # these take seconds to export: that of the package passes for it
    for name, suffix in (("torchscript", ".pt"), ("onnx", ".onnx")):
        files = [data for file, data in whole.items() if file.endswith(suffix)] or [b""]
        setattr(checking_weights(), name, lambda graph, data=files[-1]: data)
    command("check", path)


def checking_weights() -> Any:
    """Return the module whose exports `check` compares with."""
    from denoisplit_zoo.exporting import weights

    return weights


def _checkpoint(path: Path, out: Path) -> None:
    read_checkpoint(path / CHECKPOINTS / "last.ckpt")


READERS: dict[str, Reader] = {
    "tiff": Reader(_image, "tiff/*", share=10),
    "mrc": Reader(_image, "mrc/*", share=3),
    "microscope": Reader(_image, "microscope/*", share=5),
    "zarr": Reader(_image, "zarr/*", "**/*", share=10),
    "predict an image": Reader(_predict_image, "tiff/*", share=2),
    "predict a zarr": Reader(_predict_image, "zarr/*", "**/*", share=3),
    "settings": Reader(_settings, "text/settings.yaml"),
    "options": Reader(
        lambda path, out: from_yaml(str(path), COMMANDS["train"]), "text/options.yaml", share=3
    ),
    "about": Reader(
        lambda path, out: denoisplit_zoo.exporting.about.read_about(path), "text/about.yaml"
    ),
    "config of a run": Reader(lambda path, out: load_config(path), "run", "config.yaml", 3),
    "calibration": Reader(_run, "run", CALIBRATION, 3),
    "alarm": Reader(lambda path, out: read_alarm(path, 2), "run", "alarm.json"),
    "history": Reader(lambda path, out: read_history(path / "history.csv"), "run", "history.csv"),
    "noise model": Reader(
        lambda path, out: GaussianMixture.load(next(path.glob("*.npz"))), "run/noise_models", "*"
    ),
    "weights": Reader(_run, "run", "model.safetensors", 3),
    "error map": Reader(_run, "run", "error_map.safetensors", 2),
    "checkpoint": Reader(_checkpoint, "run", "checkpoints/*"),
    "other weights": Reader(
        lambda path, out: denoisplit_zoo.importing.weights.import_weights(path / "last.ckpt"),
        "run/checkpoints", "*", 2, accepts=False,
    ),
    "run": Reader(_predict_run, "run", "*.*", 4),
    "job": Reader(_resume, "job/out", "**/*", 4),
    "check": Reader(_check, "package/package.zip", share=5),
    "import": Reader(
        lambda path, out: command("import", path, "-o", out / "run"), "package/package.zip", share=6
    ),
}  # fmt: skip
