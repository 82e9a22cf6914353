"""``denoisplit check``: test a package for each of the programs that it is made for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
import tifffile

from denoisplit.config.commands import CHECK
from denoisplit.config.options import documented
from denoisplit.files.atomic import write_bytes
from denoisplit.files.json_file import read_json
from denoisplit.progress import logger
from denoisplit_zoo.archive import Contents, pack, read_package
from denoisplit_zoo.checking import rules
from denoisplit_zoo.checking.bioengine import (
    TORCH,
    WITHOUT_TORCH,
    UnavailableError,
    programs_of_service,
)
from denoisplit_zoo.checking.bioimageio_program import run_bioimageio
from denoisplit_zoo.checking.github import look_up_accounts
from denoisplit_zoo.checking.images import read_test_tensor
from denoisplit_zoo.checking.openvino_program import check_in_openvino
from denoisplit_zoo.checking.prepared import for_bioimageio, unusable_files
from denoisplit_zoo.checking.programs import familiar_formats
from denoisplit_zoo.checking.rules import BIOENGINE, CORE, DEEPIMAGEJ, ILASTIK, ZOO, Finding

Array = npt.NDArray[np.float32]

MARGIN = 64  # px at the border, where whole images and blocks are padded differently
BLOCK_DIFFERENCE = 1e-2  # largest difference of blocks from the whole image, of the data range
USERS = {
    "pytorch_state_dict": (CORE, ZOO),
    "torchscript": (CORE, ILASTIK, DEEPIMAGEJ, ZOO),
    "onnx": (CORE, DEEPIMAGEJ, ZOO),
}


@dataclass(frozen=True)
class CheckResult:
    """Result of a check, for each consumer."""

    problems: dict[str, list[str]]  # by consumer; empty if it accepts the package
    notes: list[str]  # steps that were left out, and why
    remarks: Mapping[str, str]  # by consumer: the result in place of "pass"

    @property
    def passed(self) -> bool:
        """Whether every consumer accepts the package."""
        return not any(self.problems.values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"passed": self.passed, **asdict(self)}

    @property
    def text(self) -> str:
        """One line per consumer, then the notes."""
        width = max(map(len, self.problems))
        lines = [
            f"{name:{width}}  "
            f"{'fails: ' + '; '.join(texts) if texts else self.remarks.get(name, 'pass')}"
            for name, texts in self.problems.items()
        ]
        return "\n".join([*lines, *self.notes]) + "\n"


@documented(CHECK)
def check(
    package: str | Path, *, run_code: bool = False, environments: str | Path | None = None
) -> CheckResult:
    """Check a package against the rules of its consumers, and run it with bioimageio.core.

    It is also run in the versions of the service of bioimage.io, bioengine, which are installed
    once from the package index that pip uses.

    Parameters
    ----------
    {options}

    Raises
    ------
    InputError
        If the file is not a package of this project.
    """
    contents = read_package(package)
    problems: dict[str, list[str]] = {name: [] for name in rules.CONSUMERS}
    notes: list[str] = []
    logger.info("checking the files of %s", package)
    reports = list(rules.findings(contents))
    if reason := unusable_files(contents):
        notes.append(f"the model was not run, because {reason}")
    else:
        missing, notes = look_up_accounts(contents.description)
        reports += [Finding((CORE, ILASTIK, ZOO), text) for text in missing]
        weights = contents.description.get("weights", {})
        formats = [name for name in rules.WEIGHT_FORMATS if weights.get(name)]
        if not run_code:
            familiar = familiar_formats(contents)
            notes += _not_run([name for name in formats if name not in familiar])
            formats = [name for name in formats if name in familiar]
        with tempfile.TemporaryDirectory(prefix="denoisplit-check-") as folder:
            place = Path(environments or platformdirs.user_cache_path("denoisplit"))
            reports += _runs(contents, Path(folder), formats, place)
        if "onnx" in formats:
            of_openvino, more = check_in_openvino(contents)
            problems |= of_openvino
            notes += more
    remarks = {}
    for finding in reports:
        text = " ".join(finding.text.split())
        for name in finding.consumers:
            if finding.remark:
                remarks[name] = text
            else:
                problems[name].append(text)
    return CheckResult(problems, notes, remarks)


def _not_run(formats: list[str]) -> list[str]:
    """Return a note on weight formats with unknown code, if there are any."""
    if not formats:
        return []
    were = "was" if len(formats) == 1 else "were"
    return [
        f"{', '.join(formats)} {were} not run, because the code is not that which this release of "
        "denoisplit exports with this release of torch; if you trust the package, allow it with "
        "`run_code`"
    ]


def _runs(
    contents: Contents, folder: Path, formats: list[str], environments: Path
) -> Iterator[Finding]:
    """Run bioimageio two at a time, since half of each run uses only one core."""
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(_test, contents, folder / name, name, USERS[name]) for name in formats]
        if formats:
            runs.insert(0, pool.submit(_compare_blocks, contents, folder / "predict", formats[-1]))
        for run in runs:
            yield from run.result()
    if formats:
        yield from _in_bioengine(contents, folder, formats, environments)


def _in_bioengine(
    contents: Contents, folder: Path, formats: list[str], environments: Path
) -> Iterator[Finding]:
    """Run ``bioimageio test`` in the versions of bioengine; yield what could not be run, too."""
    try:
        programs, torch = programs_of_service(environments)
    except UnavailableError as error:
        text = f"not run: no environment could be made in {environments} ({error})"
        yield Finding((BIOENGINE,), f"{text}; its rules for files pass", remark=True)
        return
    missing = [name for name in formats if not (torch or name in WITHOUT_TORCH)]
    if missing:
        text = f"pass without torch {TORCH}, of which the package index has no build for this CPU"
        yield Finding((BIOENGINE,), f"{text}; not run: {', '.join(missing)}", remark=True)
    for name in [name for name in formats if name not in missing]:
        yield from _test(contents, folder / f"bioengine-{name}", name, (BIOENGINE,), programs)


def _write_offline(contents: Contents, folder: Path) -> None:
    """Write the package as bioimageio gets it."""
    folder.mkdir()
    write_bytes(folder / "package.zip", pack(for_bioimageio(contents)))


def _test(
    contents: Contents,
    folder: Path,
    weight_format: str,
    consumers: tuple[str, ...],
    programs: Path | None = None,
) -> list[Finding]:
    """Run ``bioimageio test`` on one weight format, for some consumers."""
    logger.info("bioimageio test, %s%s", weight_format, ", bioengine" * bool(programs))
    _write_offline(contents, folder)
    summary = folder / f"{weight_format}.json"
    options = (f"--weight-format={weight_format}", f"--summary={summary.name}")
    code, output = run_bioimageio(folder, "test", "package.zip", *options, programs=programs)
    values: dict[str, Any] = read_json(summary) if summary.exists() else {}
    if code == 0 and values.get("status") == "passed":
        return []
    errors = [
        f"{detail.get('name')}: {str(error.get('msg')).splitlines()[0]}"
        for detail in values.get("details", [])
        for error in detail.get("errors", [])
    ]
    reason = errors[0] if errors else _last_line(output)
    return [Finding(consumers, f"bioimageio test of {weight_format} failed: {reason}")]


def _last_line(output: str) -> str:
    return output.strip().splitlines()[-1] if output.strip() else "no output"


def _compare_blocks(contents: Contents, folder: Path, weight_format: str) -> list[Finding]:
    """Compare whole and blockwise prediction of the test image.

    The image is extended by reflection to a size at which all blocks lie on the network's grid,
    and which is larger than both margins.
    """
    logger.info("bioimageio predict, whole and in blocks")
    _write_offline(contents, folder)
    try:
        (tensor_in,), (tensor_out,) = (contents.description[key] for key in ("inputs", "outputs"))
        file = contents.files[tensor_in["test_tensor"]["source"]]
        image = read_test_tensor(file)[0, 0]
        halo = max(axis.get("halo", 0) for axis in tensor_out["axes"])
        step = image.shape[0] - 2 * halo  # px from one block to the next
        if step <= 0:
            raise ValueError(f"a halo of {halo} px leaves nothing of {image.shape[0]} px")
        extension = step * max(1, (2 * MARGIN - image.shape[0]) // step + 1)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        text = f"bioimageio predict was not run, because the test image is not usable ({error})"
        return [Finding((CORE,), text)]
    tifffile.imwrite(folder / "image.tif", np.pad(image, (0, extension), mode="reflect"))
    results: list[Array] = []
    for blockwise in (False, True):
        name = f"blocks_{blockwise}.tif"
        files = ("package.zip", '--inputs=[["image.tif"]]', f"--outputs={name}")
        options = (f"--blockwise={blockwise}", f"--weight-format={weight_format}")
        _, output = run_bioimageio(folder, "predict", *files, *options)
        if not (folder / name).exists():
            return [Finding((CORE,), f"bioimageio predict failed: {_last_line(output)}")]
        channels = tifffile.imread(folder / name)
        results.append(channels.reshape(-1, *channels.shape[-2:]))
    inside = np.s_[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    difference = float(np.abs(results[0] - results[1])[inside].max() / np.ptp(image))
    logger.info("blocks differ from the whole image by %.2g of the data range", difference)
    if difference > BLOCK_DIFFERENCE:
        text = (
            f"blocks differ from the whole image by {difference:.2g} of the data range, more than "
            f"{BLOCK_DIFFERENCE:g} (export again with a larger `halo`)"
        )
        return [Finding((CORE, ILASTIK, DEEPIMAGEJ), text)]
    return []
