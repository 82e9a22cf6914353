"""The house: floors, the wheel, the command line's lightness, tidiness."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import denoisplit

from . import house_tree

ROOT = Path(__file__).resolve().parents[1]
ROOTS = {"denoisplit": ROOT / "denoisplit", "denoisplit_zoo": ROOT / "packaging" / "denoisplit_zoo"}
SOURCES = sorted(path for folder in ROOTS.values() for path in folder.rglob("*.py"))
TORCH_LIBRARIES = ("torch", "torchmetrics", "lightning", "pytorch_lightning", "safetensors.torch")
# what `denoisplit --help` has no use for
HEAVY = {"bioimageio", "lightning", "matplotlib", "numpy", "onnx", "onnxruntime"}
HEAVY |= {"pydantic", "scipy", "tifffile", "torch", "torchmetrics", "xarray"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run without our own Python paths."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stderr}"
    return done.stdout


FLOOR = {name: n for n, line in enumerate(house_tree.FLOORS.split("\n")) for name in line.split()}
LAZY_TARGETS = tuple(denoisplit._LAZY.values())
MOST_MODULES = 16


# ---------------------------------------------------------------- floors


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def module_name(path: Path) -> str:
    """Dotted name of a source file; a package is named by its ``__init__``."""
    name, folder = next((n, f) for n, f in ROOTS.items() if path.is_relative_to(f))
    return ".".join([name, *path.relative_to(folder).with_suffix("").parts])


def imports(module: str, source: str) -> Iterator[str]:
    """Full names of everything that a module imports, wherever in it: ``a.b`` for from a import b.

    The module is named with a closing ``.__init__`` where it is a package, so that cutting off the
    last part gives the package that relative imports start from.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            name = name.id if isinstance(name, ast.Name) else name
            if name in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def room(name: str) -> str | None:
    """The floor that a dotted name of ours stands on; None for the lazy ``denoisplit`` itself."""
    root, *parts = name.removeprefix("packaging.").split(".")
    if root != "denoisplit":
        return root if root == "denoisplit_zoo" else None
    return parts[0] if parts and parts[0] != "__init__" else None


def forbidden(module: str, source: str) -> list[str]:
    """The imports of one module that lead to a floor above its own, one line each."""
    own = room(module)
    lines = []
    for name in imports(module, source):
        if not within(name, "denoisplit", "denoisplit_zoo", "packaging.denoisplit_zoo"):
            bad = own == "images" and within(name, *TORCH_LIBRARIES)
        elif own is None:  # the lazy package hands on names, and imports only the version
            bad = room(name) != "version" and not within(name, *LAZY_TARGETS)
        elif own == "network":
            bad = room(name) != "network"
        else:
            bad = FLOOR.get(room(name) or "", FLOOR["__init__"]) > FLOOR[own]
        if bad:
            lines.append(f"{module} imports {name}")
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_imports_a_floor_above_its_own(path: Path) -> None:
    assert not forbidden(module_name(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("denoisplit.network.vse", "from denoisplit.errors import InputError"),
        ("denoisplit.network.vse", "from denoisplit import errors"),
        ("denoisplit.network.vse", "from .. import config"),
        ("denoisplit.network.__init__", "from ..data import splits"),
        ("denoisplit.network.blocks", "import denoisplit"),
        ("denoisplit.network.blocks", "import denoisplit_zoo"),
        ("denoisplit.training.fit", "def f():\n    import denoisplit_zoo.exporting.graph"),
        ("denoisplit.run", "def f():\n    from denoisplit.training.fit import fit_weights"),
        ("denoisplit.evaluation.scoring", "if TYPE_CHECKING:\n    import denoisplit.report.page"),
        ("denoisplit.data.splits", "from denoisplit.noise_models import GaussianMixture"),
        ("denoisplit.commands.train", "from ..reproduction import tasks"),
        ("denoisplit.commands.train", "from denoisplit import load"),
        (
            "denoisplit.__init__",
            "from importlib import import_module\nimport_module('denoisplit_zoo')",
        ),
        ("denoisplit.__init__", "from denoisplit.training.fit import fit_weights"),
        ("denoisplit.images.formats.tiff", "def f():\n    from torch import nn"),
        ("denoisplit.images.formats.tiff", "if TYPE_CHECKING:\n    import torch"),
        ("denoisplit.images.__init__", "import safetensors.torch"),
        ("denoisplit.training.fit", "from denoisplit.cli.main import main"),
        ("denoisplit.training.fit", "from .. import cli"),
        ("denoisplit_zoo.exporting.export", "from denoisplit import cli"),
    ],
)
def test_a_forbidden_import_is_seen(module: str, source: str) -> None:
    assert len(forbidden(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "denoisplit.network.vse",
            "import torch\nfrom .blocks import Block\nfrom . import encoder",
        ),
        ("denoisplit.network.__init__", "from denoisplit.network.vse import VSE"),
        (
            "denoisplit.images.formats.tiff",
            "import numpy, torchless\nfrom denoisplit.errors import InputError",
        ),
        ("denoisplit.cli.main", "import denoisplit_zoo\nfrom packaging.version import Version"),
        ("denoisplit.__main__", "from denoisplit.cli.main import main"),
        ("denoisplit.training.fit", "import torch\nimport denoisplit.network"),
        ("denoisplit_zoo.exporting.export", "import torch\nfrom denoisplit.run import load"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert not forbidden(module, source)


def test_lazy_names_do_not_lead_to_the_command_line() -> None:
    rooms = {room(target) for target in LAZY_TARGETS}
    assert all(FLOOR[name or ""] < FLOOR["cli"] for name in rooms)


def test_every_room_has_a_floor_and_at_most_16_modules() -> None:
    folders = [path for path in ROOTS["denoisplit"].rglob("*") if path.is_dir()]
    for folder in (ROOTS["denoisplit"], *(f for f in folders if f.name != "__pycache__")):
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, relative(folder)
    rooms = {room(module_name(path)) for path in SOURCES} - {None}
    assert rooms <= set(FLOOR)


def test_reading_images_needs_no_torch() -> None:
    modules = sorted(
        module_name(path).removesuffix(".__init__")
        for path in ROOTS["denoisplit"].glob("images/**/*.py")
    )
    assert "denoisplit.images" in modules
    code = f"import sys, {', '.join(modules)}; assert 'torch' not in sys.modules"
    run(sys.executable, "-c", code, cwd=ROOT)


def test_packaging_is_that_of_pypi() -> None:
    code = "import packaging.version; print(packaging.version.__file__)"
    found = Path(run(sys.executable, "-c", code, cwd=ROOT).strip())
    assert "site-packages" in found.parts
    assert not (ROOT / "packaging" / "__init__.py").exists()


# ---------------------------------------------------------------- the wheel


def test_every_package_is_listed_for_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {module_name(path).rpartition(".")[0] for path in SOURCES}
    assert set(listed) == there | {"denoisplit_zoo.rdf_templates"}


@pytest.fixture(scope="module")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty environment that holds our wheel and nothing else."""
    # built from a copy, so that neither products of earlier builds get in nor new ones stay here
    source = tmp_path_factory.mktemp("source")
    for name in ("denoisplit", "packaging", "rdf_templates"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    dist = tmp_path_factory.mktemp("dist")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    options = ("--no-deps", "--no-index")
    run(*pip, "wheel", ".", *options, "--no-build-isolation", "--wheel-dir", dist, cwd=source)
    (wheel,) = dist.glob("*.whl")

    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(*pip, "--python", python, "install", *options, wheel, cwd=dist)
    return python


def test_wheel_holds_both_packages_and_the_templates(wheel_python: Path, tmp_path: Path) -> None:
    code = """
import json, pathlib, denoisplit, denoisplit_zoo
from importlib.metadata import version
from importlib.resources import files
roots = {p.__name__: pathlib.Path(p.__file__).parent for p in (denoisplit, denoisplit_zoo)}
print(json.dumps({
    "versions": [denoisplit.__version__, version("denoisplit")],
    "files": {n: [p.relative_to(r).as_posix() for p in r.rglob("*")] for n, r in roots.items()},
    "roots": [str(root) for root in roots.values()],
    "templates": {p.name: p.read_text(encoding="utf-8")
                  for p in files("denoisplit_zoo.rdf_templates").iterdir() if p.is_file()},
}))
"""
    facts = json.loads(run(wheel_python, "-c", code, cwd=tmp_path))
    assert facts["versions"] == [denoisplit.__version__] * 2
    assert all("site-packages" in Path(root).parts for root in facts["roots"])
    for name, folder in ROOTS.items():
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        ours = {path.relative_to(folder).as_posix() for path in files}
        assert ours <= set(facts["files"][name])
    templates = {path.name: path for path in (ROOT / "rdf_templates").iterdir() if path.is_file()}
    assert facts["templates"] == {n: p.read_text(encoding="utf-8") for n, p in templates.items()}


def test_wheel_leaves_the_name_packaging_alone(wheel_python: Path, tmp_path: Path) -> None:
    code = "from importlib.util import find_spec; assert find_spec('packaging') is None"
    run(wheel_python, "-c", code, cwd=tmp_path)


def test_wheel_brings_the_command(wheel_python: Path, tmp_path: Path) -> None:
    """Without torch or any other library installed: help and version need none of them."""
    command = wheel_python.with_name("denoisplit" + wheel_python.suffix)
    assert run(command, "--version", cwd=tmp_path).split()[-1] == denoisplit.__version__
    assert "train" in run(command, "--help", cwd=tmp_path)


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["denoisplit", "--help"]
from denoisplit.cli.main import main
try:
    code = main()
except SystemExit as end:
    code = end.code
sys.stdout.write("\\n" + " ".join(sys.modules))
sys.exit(code)
"""
    loaded = run(sys.executable, "-c", code, cwd=tmp_path).splitlines()[-1].split()
    assert "denoisplit.cli.main" in loaded
    assert not HEAVY & set(loaded)


# ---------------------------------------------------------------- tidiness


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_is_short_and_does_not_print(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 350
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


ABSOLUTE = re.compile(
    r"(?<![\w.~}>/-])(?:/(?:home|root|Users|work|mnt|scratch)/|[A-Z]:\\Users\\)\w"
)


def texts() -> Iterator[Path]:
    """Every file of ours that holds text."""
    rooms = ("denoisplit", "packaging", "rdf_templates", "tests", "benchmarks", "docs", ".ci")
    binary = {".pyc", ".png", ".npz", ".npy", ".tif", ".mrc", ".safetensors"}
    found = [path for path in ROOT.iterdir() if path.is_file()]
    found += [path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]
    kept = ROOT / "tests/kept"  # what earlier releases wrote
    found = [path for path in found if path.parent == kept or not path.is_relative_to(kept)]
    return (path for path in found if path.suffix not in binary)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    hits = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ABSOLUTE.search(line)
    ]
    assert not hits


def test_a_place_on_somebodys_machine_is_seen() -> None:
    place = "/".join(["", "home", "ada", "images"])
    assert ABSOLUTE.search(f'open("{place}")')
    assert not ABSOLUTE.search(f"https://example.org{place}")


# ---------------------------------------------------------------- documentation


def test_the_tree_of_the_architecture_page_is_that_of_the_folders() -> None:
    (written,) = house_tree.BLOCK.findall(house_tree.PAGE.read_text(encoding="utf-8"))
    assert written == house_tree.tree(), "run: python tests/house_tree.py"


# wording that slows a reader (docs/contributing.md, "How we write")
DIALECT = re.compile(
    r"\btold\b|\black(s|ing)?\b(?! of)|\bat it\b|\bsaid (of|by)\b|\bis said\b|\bthe whole way\b"
    r"|\bgive it\b|\bsay --|\bof everything random\b|\bknown again\b|\btake care that\b"
    r"|\bwith equal effort\b|\bnobody is at\b|\bare left out and\b|\bfound = |\btold\(",
    re.IGNORECASE,
)


def spoken() -> Iterator[Path]:
    yield from SOURCES
    yield from (ROOT / "rdf_templates").glob("*.md")
    yield from (path for path in (ROOT / "docs").glob("*.md"))
    yield from (ROOT / name for name in ("README.md", "CHANGELOG.md", "benchmarks/README.md"))


def test_the_language_is_plain() -> None:
    hits = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in spoken()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DIALECT.search(line)
    ]
    assert not hits, "\n".join(hits)


def test_the_formatter_lays_out_everything() -> None:
    assert not [relative(path) for path in SOURCES if "fmt: skip" in path.read_text("utf-8")]
