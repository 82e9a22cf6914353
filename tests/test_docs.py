"""The README and the documentation are run as they stand.

Every ``console``, ``bash`` and ``python`` block of README.md and docs/*.md is run, in order, one
temporary folder per document. The folder holds small simulated images: ``er/*.tif`` and
``mt/*.tif`` (five co-registered frames each) and ``mixed.tif``.

- ``console``: the lines after ``$ ``; the others are output. ``bash``: the whole block. Both stop
  at the first command that fails. Lines that call ``make`` are left out.
- ``denoisplit train`` without ``--max-steps`` gets ``--max-steps 4``, and settings for a small
  network and few steps of the error map and the noise models, so that it takes seconds; so does a
  settings file of the document, and ``denoisplit noise-model fit``.
  Python blocks are run as they are, each in its own process.
- Processes start at once, see tests/forked.py. All but those of README.md draw no figures, and fit
  their corrections to few samples, see tests/tiny.py.
- A block after ``<!-- not run: REASON -->`` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from .tiny import LITTLE

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if p.exists()]

QUICK = "quick.yaml"  # settings of trainings that take seconds
QUICK_NOISE = "noise.yaml"  # those of a noise model
QUICK_FIT = "noise_model_fit: {steps: 50, components: 2}\n"
RUN = {"console", "bash", "python"}
SHOWN = {"text", "yaml", "json", "toml", "bibtex", "mermaid"}
FENCE = re.compile(r"^\s*```\s*(\S*)")
COMMENT = re.compile(r"^<!--\s*not run(?::\s*(.*?))?\s*-->$")


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str
    left_out: str | None  # the reason


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document that are code to run, left out or not."""
    lines = document.splitlines()
    found, number = [], 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        start, language = number, fence[1]
        indent = len(lines[start]) - len(lines[start].lstrip())
        number += 1
        while number < len(lines) and not FENCE.match(lines[number]):
            number += 1
        assert number < len(lines), f"line {start + 1}: the block is not closed"
        assert language in RUN | SHOWN, (
            f"line {start + 1}: a block of {language or 'no language'}, which is neither run "
            f"({', '.join(sorted(RUN))}) nor only shown ({', '.join(sorted(SHOWN))})"
        )
        before = next((line.strip() for line in reversed(lines[:start]) if line.strip()), "")
        comment = COMMENT.match(before)
        assert not comment or comment[1], f"line {start + 1}: not run, and no reason is given"
        if language in RUN:
            text = "\n".join(line[indent:] for line in lines[start + 1 : number]) + "\n"
            found.append(Block(start + 1, language, text, comment[1] if comment else None))
        number += 1
    return found


def script(block: Block) -> str:
    """The shell commands of a console or bash block, made short where they train."""
    text = block.text.replace("\\\n", " ")
    quick = f"{QUICK_FIT}prediction: {{error_map_steps: 2, "
    text = re.sub(r"^prediction: \{", quick, text, flags=re.MULTILINE)
    lines = text.splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
        assert lines, (
            f"line {block.line}: a console block without a command, which starts with '$ '"
        )
    lines = [line for line in lines if not re.match(r"\s*make\b", line)]
    return "\n".join(map(_short, lines)) + "\n"


def _short(line: str) -> str:
    options = "".join(
        f" {name} {value}"
        for name, value in (("--max-steps", "4"), ("--config", QUICK))
        if name not in line
    )
    line = re.sub(r"\bdenoisplit train\b", f"denoisplit train{options}", line)
    return line.replace("noise-model fit", f"noise-model fit --config {QUICK_NOISE}")


def execute(document: str, folder: Path, programs: Path) -> int:
    """Run the blocks of a document in a folder, by ``denoisplit`` of another; how many ran."""
    path = os.pathsep.join(map(str, (programs, Path(sys.executable).parent, os.environ["PATH"])))
    environment = os.environ | {"PATH": path, "MPLBACKEND": "Agg"}
    count = 0
    for block in blocks(document):
        if block.left_out:
            continue
        if block.language == "python":
            command = [str(programs / "python"), "-c", block.text]
        else:
            command = ["bash", "-e", "-o", "pipefail", "-c", script(block)]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (
            f"the {block.language} block at line {block.line} ended with {done.returncode}:\n"
            f"{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
        count += 1
    return count


def prepare(folder: Path, frames: int = 5, size: int = 96) -> None:
    """Simulated images: a blurred network (er), straight filaments (mt), and their noisy sum."""
    (folder / QUICK_NOISE).write_text(QUICK_FIT)
    (folder / QUICK).write_text(
        "prediction: {calibration_samples: 4, error_map_steps: 2}\n"
        "network: {filters: 8, latents: 4, levels: 2}\n" + QUICK_FIT
    )
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    for name in ("er", "mt"):
        (folder / name).mkdir()
    for frame in range(frames):
        field = gaussian_filter(rng.standard_normal((size, size)), 4, mode="wrap")
        cells = gaussian_filter(rng.standard_normal((size, size)), 20, mode="wrap")
        er = np.exp(-((field / field.std() / 0.3) ** 2)) * (cells > 0)
        mt = np.zeros((size, size))
        for angle, offset in zip(
            rng.uniform(0, np.pi, 12), rng.uniform(-0.5, 0.5, 12), strict=True
        ):
            across = (x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle)
            mt += np.exp(-(((across - offset * size) / 1.5) ** 2))
        planes = {"er": 20 + 300 * gaussian_filter(er, 1), "mt": 20 + 200 * mt}
        for name, plane in planes.items():
            tifffile.imwrite(folder / name / f"{name}_{frame}.tif", plane.astype(np.uint16))
    mixed = 4 * rng.poisson((planes["er"] + planes["mt"]) / 4)
    tifffile.imwrite(folder / "mixed.tif", mixed.astype(np.uint16))


# the longest has a file of its own, so that two processes share the work
@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS if p.name != "guide.md"], ids=lambda path: path.name
)
def test_document_runs_as_it_stands(
    path: Path, tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.name == "README.md":
        monkeypatch.delenv(LITTLE)
    run(path, tmp_path, programs)


def run(path: Path, tmp_path: Path, programs: Path) -> None:
    document = path.read_text(encoding="utf-8")
    if any(not block.left_out for block in blocks(document)):
        prepare(tmp_path)
    execute(document, tmp_path, programs)


def fenced(language: str, text: str, before: str = "") -> str:
    return f"{before}\n\n```{language}\n{text}\n```\n"


def test_blocks_run_in_order_in_one_folder(tmp_path: Path, programs: Path) -> None:
    document = fenced("bash", "echo 1 > a\nmake nothing") + fenced(
        "python", "import pathlib\npathlib.Path('b').write_text(pathlib.Path('a').read_text())"
    )
    document += fenced("text", "exit 1") + fenced("console", "$ cat \\\n  b\n1\n$ true")
    assert execute(document, tmp_path, programs) == 3
    assert (tmp_path / "b").read_text() == "1\n"


@pytest.mark.parametrize(
    ("language", "text"),
    [("bash", "false\ntrue"), ("console", "$ false\n$ true"), ("python", "1 / 0")],
)
def test_a_block_that_fails_is_seen(
    language: str, text: str, tmp_path: Path, programs: Path
) -> None:
    with pytest.raises(AssertionError, match="line 3 ended with 1"):
        execute(fenced(language, text), tmp_path, programs)


def test_a_block_is_left_out_for_a_reason_only(tmp_path: Path, programs: Path) -> None:
    document = fenced("bash", "false", "<!-- not run: takes a day -->")
    assert execute(document, tmp_path, programs) == 0
    for comment in ("<!-- not run -->", "<!-- not run: -->"):
        with pytest.raises(AssertionError, match="no reason"):
            execute(fenced("bash", "false", comment), tmp_path, programs)


@pytest.mark.parametrize("language", ["", "sh", "py"])
def test_a_block_of_a_language_nobody_runs_is_seen(language: str) -> None:
    with pytest.raises(AssertionError, match="neither run"):
        blocks(fenced(language, "false"))


def test_training_is_made_short() -> None:
    def shell(text: str) -> str:
        return script(Block(1, "bash", text, None)).strip()

    quick = f"denoisplit train --max-steps 4 --config {QUICK} -o a | cat"
    assert shell("denoisplit train -o a | cat") == quick
    assert shell("denoisplit train --config b.yaml").count("--config") == 1
    assert shell("denoisplit train -o a \\\n --max-steps 9").count("--max-steps") == 1
    assert shell("denoisplit predict a b.tif") == "denoisplit predict a b.tif"


def test_simulated_images_are_those_of_the_documents(tmp_path: Path) -> None:
    prepare(tmp_path)
    files = [*sorted(tmp_path.glob("er/*.tif")), *sorted(tmp_path.glob("mt/*.tif"))]
    assert len(files) == 10
    for path in [*files, tmp_path / "mixed.tif"]:
        image = tifffile.imread(path)
        assert image.shape == (96, 96)
        assert image.dtype == np.uint16
        assert image.std() > 10
