"""``denoisplit check``: what is spoiled in a package is named, for whom it matters."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import torch
import yaml
from denoisplit_zoo import About, export
from denoisplit_zoo.archive import pack, read_package
from denoisplit_zoo.checking import check as checking
from denoisplit_zoo.checking import github as lookups
from denoisplit_zoo.checking import rules as checks
from denoisplit_zoo.checking.check import check
from denoisplit_zoo.checking.programs import own_architecture
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS
from PIL import Image

from denoisplit.errors import InputError

from ..conftest import ABOUT, STRIDE, contents, small

Files = dict[str, bytes]
Spoil = Callable[[Files, dict[str, Any]], None]


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """What GitHub answers on an account; nobody is asked."""
    known: dict[str, int | None] = {"ada": 200}
    monkeypatch.setattr(lookups, "_status", known.__getitem__)
    return known


@pytest.fixture
def familiar(monkeypatch: pytest.MonkeyPatch) -> None:
    """All programs are taken for our own; test_no_code compares them."""
    monkeypatch.setattr(checking, "familiar_formats", lambda _: set(checks.WEIGHT_FORMATS))


@pytest.fixture
def not_run(familiar: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """bioimageio's own program is what tests/consumers run."""
    monkeypatch.setattr(checking, "_runs", lambda *_: iter(()))


def spoiled(package: Path, to: Path, spoil: Spoil, *, hashed: bool = True) -> Path:
    """A copy with changes; its description knows of them unless ``hashed`` is False."""
    files = contents(package)
    described = yaml.safe_load(files["rdf.yaml"])
    spoil(files, described)
    if hashed:
        rehash(described, files)
    files["rdf.yaml"] = yaml.safe_dump(described, sort_keys=False).encode()
    to.write_bytes(pack(files))
    return to


def rehash(value: Any, files: Files) -> None:
    if isinstance(value, dict):
        if "sha256" in value and value.get("source") in files:
            value["sha256"] = hashlib.sha256(files[value["source"]]).hexdigest()
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            rehash(inner, files)


@pytest.mark.usefixtures("not_run")
def test_a_good_package_passes_everywhere(package: Path) -> None:
    result = check(package)
    assert result.problems == {name: [] for name in checks.CONSUMERS}
    assert result.passed and result.notes == []
    assert result.text.splitlines() == [f"{name:10}  pass" for name in checks.CONSUMERS]


@pytest.mark.usefixtures("familiar")
def test_no_environment_of_bioengine(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_test", lambda *_: [])
    monkeypatch.setattr(checking, "_compare_blocks", lambda *_: [])
    result = check(package, environments="here")
    assert result.passed and result.text.splitlines()[4] == (
        "bioengine   not run: no environment could be made in here (no network); its rules for "
        "files pass"
    )


@pytest.mark.parametrize("torch_too", [False, True])
@pytest.mark.usefixtures("familiar")
def test_bioengine_runs_what_its_environment_can(
    package: Path, monkeypatch: pytest.MonkeyPatch, bioengine: dict[str, Any], torch_too: bool
) -> None:
    bioengine["torch"] = torch_too
    ran = []

    def stand_in(folder: Path, *arguments: str, programs: Path | None = None) -> tuple[int, str]:
        if programs:
            assert programs == Path("here/bin") and (folder / "package.zip").exists()
            ran.append(arguments[2].partition("=")[2])
        return 1, "mismatched elements"

    monkeypatch.setattr(checking, "run_bioimageio", stand_in)
    result = check(package, environments="here")
    formats = checks.WEIGHT_FORMATS if torch_too else ("onnx",)
    assert ran == [*formats]
    assert result.problems["bioengine"] == [
        f"bioimageio test of {name} failed: mismatched elements" for name in formats
    ]
    monkeypatch.setattr(checking, "_test", lambda *_: [])
    line = check(package, environments="here").text.splitlines()[4]
    assert line.endswith("pass" if torch_too else "not run: pytorch_state_dict, torchscript")


@pytest.mark.usefixtures("not_run")
@pytest.mark.parametrize("kind", PACKAGE_KINDS)
def test_every_kind_passes_everywhere(mapped_folder: Path, tmp_path: Path, kind: str) -> None:
    """The rules read the files alone; tests/consumers runs the packages."""
    about = About.model_validate(ABOUT)
    package = export(mapped_folder, tmp_path / "p.zip", about=about, **small(kind))
    result = check(package)
    assert result.passed and result.notes == [], result.text
    contents = read_package(package)
    entry = contents.description["weights"]["pytorch_state_dict"]["architecture"]
    assert own_architecture(contents) == entry  # with arguments within the bounds


def two_inputs(_: Files, described: dict[str, Any]) -> None:
    described["inputs"].append({**described["inputs"][0], "id": "seed"})


def processing(_: Files, described: dict[str, Any]) -> None:
    described["inputs"][0]["preprocessing"] = [{"id": "zero_mean_unit_variance"}]


def mappings(_: Files, described: dict[str, Any]) -> None:
    described["covers"] = [{"source": "cover.png"}]


def any_size(_: Files, described: dict[str, Any]) -> None:
    described["inputs"][0]["axes"][2]["size"] = {"min": 64, "step": 16}


def odd_halo(_: Files, described: dict[str, Any]) -> None:
    described["outputs"][0]["axes"][2]["halo"] = 18


def no_nickname(_: Files, described: dict[str, Any]) -> None:
    del described["config"]["bioimageio"]["nickname"]


def newer_onnx(files: Files, _: dict[str, Any]) -> None:
    model = onnx.load_from_string(files["weights.onnx"])
    model.ir_version = 10
    files["weights.onnx"] = model.SerializeToString()


def random_onnx(files: Files, _: dict[str, Any]) -> None:
    model = onnx.load_from_string(files["weights.onnx"])
    model.graph.node.append(onnx.helper.make_node("RandomNormalLike", ["input"], ["more"]))
    files["weights.onnx"] = model.SerializeToString()


def pickled(files: Files, _: dict[str, Any]) -> None:
    stream = io.BytesIO()
    torch.save({"weights": Path("anything")}, stream)
    files["weights.pt"] = stream.getvalue()


def on_a_device(files: Files, _: dict[str, Any]) -> None:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(files["weights_torchscript.pt"])) as old,
        zipfile.ZipFile(stream, "w") as new,
    ):
        for name in old.namelist():
            more = b'\n# torch.device("cpu")\n' if name.endswith(".py") else b""
            new.writestr(name, old.read(name) + more)
    files["weights_torchscript.pt"] = stream.getvalue()


def headings(files: Files, _: dict[str, Any]) -> None:
    files["README.md"] = files["README.md"].replace(b"## Validation", b"## Numbers")


def huge_cover(files: Files, _: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 900, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    files["cover.png"] = stream.getvalue()


def nobody(_: Files, described: dict[str, Any]) -> None:
    described["authors"] = [{"name": "Anonymous"}]
    del described["git_repo"]


def orphan(files: Files, _: dict[str, Any]) -> None:
    files["notes.txt"] = b"of no use"


def no_format(_: Files, described: dict[str, Any]) -> None:
    del described["weights"]["torchscript"]


def other_sample(files: Files, _: dict[str, Any]) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.full((96, 96), 3, np.float32))
    files["sample_input.tif"] = stream.getvalue()


def lax(_: Files, described: dict[str, Any]) -> None:
    (entry,) = described["config"]["bioimageio"]["reproducibility_tolerance"]
    entry["relative_tolerance"] = 0.5


def lax_absolute(_: Files, described: dict[str, Any]) -> None:
    """As in packages of earlier releases, relative to the channel of the largest values."""
    (entry,) = described["config"]["bioimageio"]["reproducibility_tolerance"]
    entry["absolute_tolerance"] = 1.1


def another_import(files: Files, _: dict[str, Any]) -> None:
    files["architecture.py"] += b"\ndef late():\n    import cv2.dnn, os\n    from . import more\n"


def no_python(files: Files, _: dict[str, Any]) -> None:
    files["architecture.py"] = b"(" * 9999


def no_licence(_: Files, described: dict[str, Any]) -> None:
    del described["license"], described["authors"]


def a_list(_: Files, described: dict[str, Any]) -> None:
    described["weights"]["pytorch_state_dict"]["architecture"]["kwargs"]["calibration"] = [1.0]


def no_file(files: Files, _: dict[str, Any]) -> None:
    del files["sample_input.tif"]


EVERYBODY = {*checks.CONSUMERS}


@pytest.mark.parametrize(
    ("spoil", "consumers", "words"),
    [
        (two_inputs, {"ilastik", "deepImageJ", "zoo"}, "there must be one input tensor, not 2"),
        (processing, {"deepImageJ"}, "preprocessing of the input must be part of the graph"),
        (mappings, {"ilastik", "deepImageJ", "zoo"}, "covers must be given as plain file names"),
        (
            any_size,
            {"core", "ilastik"},
            f"multiple of the stride {STRIDE}, not [{{'min': 64, 'step': 16}}, 96]",
        ),
        (
            odd_halo,
            {"core", "ilastik", "deepImageJ"},
            f"the halo of y must be a multiple of {STRIDE} px",
        ),
        (no_nickname, {"deepImageJ"}, "config.bioimageio.nickname is missing"),
        (newer_onnx, {"deepImageJ"}, "the IR version of the ONNX file must be at most 8, not 10"),
        (random_onnx, {"core", "deepImageJ", "zoo"}, "the ONNX graph draws random numbers"),
        (
            pickled,
            {"core", "ilastik", "zoo", "bioengine"},
            "the state dict must contain tensors only",
        ),
        (on_a_device, {"ilastik", "deepImageJ"}, "the TorchScript code is bound to one device"),
        (headings, {"zoo"}, "missing sections of the README: Validation"),
        (huge_cover, {"zoo"}, "cover.png must be smaller than 500 KB, not "),
        (huge_cover, {"zoo"}, "the aspect ratio of cover.png must be 2:1 or 1:1, not 3:1"),
        (nobody, {"zoo"}, "missing metadata: git_repo, authors (export again with `about`)"),
        (other_sample, {"deepImageJ", "zoo"}, "the test and the sample tensor of the input differ"),
        (lax, {"core", "zoo", "bioengine"}, "relative_tolerance must be at most 0.01, not 0.5"),
        (lax_absolute, {"zoo", "bioengine"}, "the range of the output channel with the smallest"),
        (another_import, {"bioengine"}, "architecture.py imports ., cv2, which bioengine does"),
        (no_python, EVERYBODY - {"deepImageJ"}, "architecture.py is not valid Python"),
        (no_licence, {"zoo"}, "missing metadata: authors, license (export again with `about`)"),
        (orphan, {"zoo"}, "rdf.yaml does not refer to notes.txt, remove this file"),
        (no_format, {"ilastik", "deepImageJ"}, "the torchscript weights are missing"),
        (orphan, {"zoo", "bioengine"}, "there are 12 files, more than 11 (export again)"),
        (
            a_list,
            {"zoo", "bioengine"},
            "argument 'calibration' must be a number, a word, true or false, not list",
        ),
        (no_file, EVERYBODY, "rdf.yaml refers to sample_input.tif, which is missing"),
    ],
)
@pytest.mark.usefixtures("not_run")
def test_what_is_spoiled_is_named(
    package: Path, tmp_path: Path, spoil: Spoil, consumers: set[str], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # bioimageio.spec takes seconds, and has a test of its own
    monkeypatch.setattr(checks, "validate", lambda *_: None)
    result = check(spoiled(package, tmp_path / "bad.zip", spoil))
    concerned = {name for name, texts in result.problems.items() if words in "; ".join(texts)}
    assert concerned == consumers
    assert not result.passed
    lines = result.text.splitlines()
    assert len(lines) == len(result.problems) + len(result.notes)
    for name, line in zip(result.problems, lines, strict=False):
        assert line.startswith(name) and (words in line) == (name in consumers)


@pytest.mark.usefixtures("not_run")
def test_what_the_formats_own_check_says_is_named(package: Path, tmp_path: Path) -> None:
    def no_such_licence(_: Files, described: dict[str, Any]) -> None:
        described["license"] = "No-Such-1.0"

    problems = check(spoiled(package, tmp_path / "bad.zip", no_such_licence)).problems
    for name in ("core", "ilastik", "zoo"):
        assert any(p.startswith("bioimageio.spec rejects license") for p in problems[name])


def test_a_changed_file_is_named_and_nothing_is_run(package: Path, tmp_path: Path) -> None:
    def other_code(files: Files, _: dict[str, Any]) -> None:
        files["architecture.py"] = b"raise SystemExit('run!')"

    result = check(spoiled(package, tmp_path / "bad.zip", other_code, hashed=False))
    for texts in result.problems.values():
        assert texts == ["architecture.py was changed after the export (another SHA-256)"]
    assert result.notes == ["the model was not run, because files were changed after the export"]


@pytest.mark.usefixtures("not_run")
def test_accounts_are_looked_up_apart(package: Path, answers: dict[str, int | None]) -> None:
    answers["ada"] = 404
    problems = check(package).problems
    assert problems["zoo"] == problems["core"] == ["GitHub has no account named ada"]
    assert problems["deepImageJ"] == []
    answers["ada"] = None  # no connection, which is no fault of the package
    result = check(package)
    assert result.passed
    assert result.notes == [
        "the GitHub account ada was not looked up: no answer from api.github.com"
    ]


@pytest.mark.usefixtures("familiar")
def test_bioimageio_is_not_sent_to_the_internet(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs the package without accounts, repository and sample tensors; files are unchanged."""
    ran: list[Files] = []

    def stand_in(folder: Path, *_: str, **__: Any) -> tuple[int, str]:
        ran.append(contents(folder / "package.zip"))
        return 1, "no answer"

    monkeypatch.setattr(checking, "run_bioimageio", stand_in)
    check(package)
    files = contents(package)
    described = yaml.safe_load(files.pop("rdf.yaml"))
    assert described.pop("maintainers") and described.pop("git_repo")
    assert described["inputs"][0].pop("sample_tensor")
    assert len(ran) == 4  # one prediction, three formats
    for run in ran:
        assert yaml.safe_load(run.pop("rdf.yaml")) == described
        assert run == files


@pytest.mark.parametrize("difference", [0.001, 0.1])
@pytest.mark.usefixtures("familiar")
def test_blocks_are_compared_inside_the_margins(
    package: Path, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    """The package's tile of 96 px is smaller than the two margins of 64 px together."""
    sizes: set[tuple[int, ...]] = set()

    def stand_in(folder: Path, command: str, *arguments: str, **_: Any) -> tuple[int, str]:
        options = dict(a.removeprefix("--").split("=", 1) for a in arguments if "=" in a)
        if command == "test":
            (folder / options["summary"]).write_text('{"status": "passed"}')
            return 0, ""
        image = tifffile.imread(folder / "image.tif")
        sizes.add(image.shape)
        change = difference * np.ptp(image) * (options["blockwise"] == "True")
        tifffile.imwrite(folder / options["outputs"], image + np.float32(change))
        return 0, ""

    monkeypatch.setattr(checking, "run_bioimageio", stand_in)
    problems = check(package).problems
    assert sizes == {(160, 160)}
    for consumer in ("core", "ilastik", "deepImageJ"):
        texts = [text.partition(" by ")[0] for text in problems[consumer]]
        assert texts == ["blocks differ from the whole image"] * (difference > 0.01)


@pytest.mark.usefixtures("familiar")
def test_a_halo_that_leaves_nothing_of_the_tile(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide(_: Files, described: dict[str, Any]) -> None:
        for axis in described["outputs"][0]["axes"][2:]:
            axis["halo"] = 48

    monkeypatch.setattr(checking, "run_bioimageio", lambda *_, **__: (1, "not run"))
    problems = check(spoiled(package, tmp_path / "wide.zip", wide)).problems["core"]
    assert any("(a halo of 48 px leaves nothing of 96 px)" in text for text in problems)


def test_code_of_another_release_is_run_on_request_only(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_code(files: Files, _: dict[str, Any]) -> None:
        files["architecture.py"] += b"\n# of another release\n"

    ran: list[list[str]] = []
    monkeypatch.setattr(checking, "_runs", lambda *given: ran.append(list(given[2])) or iter(()))
    bad = spoiled(package, tmp_path / "other.zip", other_code)
    assert check(bad).notes == [
        "pytorch_state_dict, torchscript, onnx were not run, because the code is not that which "
        "this release of denoisplit exports with this release of torch; if you trust the package, "
        "allow it with `run_code`"
    ]
    assert check(bad, run_code=True).notes == []
    assert check(package).notes == []
    every = ["pytorch_state_dict", "torchscript", "onnx"]
    assert ran == [[], every, every]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "this package cannot be read"),
        (b"PK but no archive", "not an intact zip archive"),
        ({"other.txt": b""}, "this archive contains no rdf.yaml"),
        ({"rdf.yaml": b"[a: b: c"}, "rdf.yaml: this is not valid YAML"),
        ({"rdf.yaml": b"type: model"}, "this package was not made by denoisplit"),
        ({"rdf.yaml": b"config: {denoisplit: 1}"}, "this package was not made by denoisplit"),
    ],
)
def test_what_is_no_package_is_refused_in_one_line(
    tmp_path: Path, content: bytes | Files | None, words: str
) -> None:
    path = tmp_path / "package.zip"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else pack(content))
    with pytest.raises(InputError) as caught:
        check(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and words in text and "\n" not in text
