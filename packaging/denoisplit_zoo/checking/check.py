"""``denoisplit check``: whether a package is accepted, by each of the programs that it is for."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import yaml

from denoisplit.files.atomic import write_bytes
from denoisplit.files.json_file import read_json
from denoisplit.progress import logger
from denoisplit_zoo.archive import DESCRIPTION, Contents, offline, pack, read_package
from denoisplit_zoo.checking.bioimageio_program import bioimageio
from denoisplit_zoo.checking.github import looked_up
from denoisplit_zoo.checking.rules import (
    CONSUMERS,
    CORE,
    DEEPIMAGEJ,
    FORMATS,
    ILASTIK,
    ZOO,
    Finding,
    at,
    findings,
)
from denoisplit_zoo.exporting.source_file import architecture_source

Array = npt.NDArray[np.float32]

BORDER = 64  # px within reach of what whole images and blocks see beyond the border
SAME = 1e-2  # share of the data range that blocks may differ from the whole image


@dataclass(frozen=True)
class Checked:
    """What was found, for each consumer.

    Attributes
    ----------
    found : dict
        Consumer to what is wrong for it; nothing for those that accept the package.
    notes : list of str
        What was not looked at, and why.
    """

    found: dict[str, list[str]]
    notes: list[str]

    @property
    def passed(self) -> bool:
        """Whether every consumer accepts the package."""
        return not any(self.found.values())

    @property
    def text(self) -> str:
        """One line per consumer."""
        width = max(map(len, self.found))
        lines = [
            f"{name:{width}}  {'fails: ' + '; '.join(reasons) if reasons else 'pass'}"
            for name, reasons in self.found.items()
        ]
        return "\n".join([*lines, *self.notes]) + "\n"


def check(package: str | Path, *, run_code: bool = False) -> Checked:
    """Look at the files of a package, and run it in bioimageio's own program.

    Parameters
    ----------
    package : path
    run_code : bool
        Also run an ``architecture.py`` that is not the one of this release. It can do anything that
        you can: say it for packages that you trust only.

    Raises
    ------
    InputError
        If the file is no package of this project.
    """
    contents = read_package(package)
    found: dict[str, list[str]] = {name: [] for name in CONSUMERS}
    notes: list[str] = []
    logger.info("looking at the files of %s", package)
    problems = list(findings(contents))
    if contents.changed:
        notes.append("not run: its files are not those that the description was written for")
    else:
        missing, unknown = looked_up(contents.description)
        problems += [Finding((CORE, ILASTIK, ZOO), text) for text in missing]
        notes += unknown
        formats = [name for name in FORMATS if name in contents.description.get("weights", {})]
        source = _architecture(contents)
        if FORMATS[0] in formats and not run_code and source != architecture_source().encode():
            formats.remove(FORMATS[0])
            notes.append(
                "state dict not run: its architecture.py is of another release; --run-code runs it"
            )
        with tempfile.TemporaryDirectory(prefix="denoisplit-check-") as folder:
            problems += _runs(contents, Path(folder), formats)
    for problem in problems:
        for name in problem.consumers:
            found[name].append(problem.text)
    return Checked(found, notes)


def _architecture(contents: Contents) -> bytes | None:
    source = at(contents.description, "weights", FORMATS[0], "architecture", "source")
    return contents.files.get(str(source))


def _runs(contents: Contents, folder: Path, formats: list[str]) -> Iterator[Finding]:
    """All runs of bioimageio, two at a time: half of each is spent on one core."""
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(_tested, contents, folder / name, name) for name in formats]
        if formats:
            runs.insert(0, pool.submit(_predicted, contents, folder / "predict", formats))
        for run in runs:
            yield from run.result()


def _copied(contents: Contents, folder: Path) -> None:
    """The package, without what bioimageio would look up on the internet."""
    folder.mkdir()
    text = yaml.safe_dump(offline(contents.description), sort_keys=False, allow_unicode=True)
    write_bytes(folder / "package.zip", pack({**contents.files, DESCRIPTION: text.encode()}))


def _tested(contents: Contents, folder: Path, weight_format: str) -> list[Finding]:
    """What bioimageio's own test says of one format."""
    logger.info("bioimageio test, %s", weight_format)
    _copied(contents, folder)
    summary = folder / f"{weight_format}.json"
    code, said = bioimageio(
        folder,
        "test",
        "package.zip",
        f"--weight-format={weight_format}",
        f"--summary={summary.name}",
    )
    if code == 0 and summary.exists() and read_json(summary).get("status") == "passed":
        return []
    reasons = _errors(summary) or [said.strip().splitlines()[-1] if said.strip() else "no answer"]
    consumers = {
        "pytorch_state_dict": (CORE, ZOO),
        "torchscript": (CORE, ILASTIK, DEEPIMAGEJ, ZOO),
        "onnx": (CORE, DEEPIMAGEJ, ZOO),
    }[weight_format]
    return [Finding(consumers, f"bioimageio test of {weight_format}: {reasons[0]}")]


def _errors(summary: Path) -> list[str]:
    if not summary.exists():
        return []
    details: list[dict[str, Any]] = read_json(summary).get("details", [])
    return [
        f"{detail.get('name')}: {str(error.get('msg')).splitlines()[0]}"
        for detail in details
        for error in detail.get("errors", [])
    ]


def _predicted(contents: Contents, folder: Path, formats: list[str]) -> list[Finding]:
    """Whole against blocks, of the test image, reflected to a size that blocks are aligned in."""
    logger.info("bioimageio predict, whole and in blocks")
    _copied(contents, folder)
    try:
        (tensor_in,), (tensor_out,) = (contents.description[key] for key in ("inputs", "outputs"))
        file = contents.files[tensor_in["test_tensor"]["source"]]
        image = np.load(io.BytesIO(file), allow_pickle=False)[0, 0]
        halo = max(axis.get("halo", 0) for axis in tensor_out["axes"])
        more = image.shape[0] - 2 * halo
    except (KeyError, TypeError, ValueError, IndexError) as error:
        text = f"bioimageio predict was not tried: no usable test image ({error})"
        return [Finding((CORE,), text)]
    tifffile.imwrite(folder / "image.tif", np.pad(image, (0, more), mode="reflect"))
    results: list[Array] = []
    for blocks in (False, True):
        name = f"blocks_{blocks}.tif"
        _, said = bioimageio(
            folder,
            "predict",
            "package.zip",
            f"--inputs={json.dumps([['image.tif']])}",
            f"--outputs={name}",
            f"--blockwise={blocks}",
            f"--weight-format={formats[-1]}",
        )
        if not (folder / name).exists():
            reason = said.strip().splitlines()[-1] if said.strip() else "no answer"
            return [Finding((CORE,), f"bioimageio predict: {reason}")]
        found = tifffile.imread(folder / name)
        results.append(found.reshape(-1, *found.shape[-2:]))
    whole, blockwise = results
    inside = np.s_[..., BORDER:-BORDER, BORDER:-BORDER]
    difference = float(np.abs(whole - blockwise)[inside].max() / np.ptp(image))
    logger.info("blocks differ from the whole image by %.2g of the data range", difference)
    if difference > SAME:
        text = (
            f"blocks differ from the whole image by {difference:.2g} of the data range, at most "
            f"{SAME:g}: export with a larger --halo"
        )
        return [Finding((CORE, ILASTIK, DEEPIMAGEJ), text)]
    return []
