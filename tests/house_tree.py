"""Tree of folders and modules with the first sentence of each docstring, for docs/architecture.md.

``python tests/house_tree.py`` writes it into the page; tests/test_house.py compares.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(?<=<!-- tree -->\n```text\n).*?(?=```\n)", re.DOTALL)
COLUMN = 28  # where descriptions begin
# from the ground up; those of one line stand on one floor
FLOORS = """
errors progress version
network
files
machine
images
config
data
noise2void
prediction
noise_models
run
jobs
evaluation
report
training
commands
reproduction
denoisplit_zoo
api viewer inspection __init__
cli
__main__
"""
ORDER = FLOORS.split()


def first_line(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, f"{module.relative_to(ROOT)} has no docstring"
    return docstring.splitlines()[0].rstrip(".")


def lines_of(folder: Path, depth: int) -> Iterator[str]:
    def line(name: str, module: Path) -> str:
        start = "  " * depth + name
        return f"{start:<{COLUMN - 1}} {first_line(module)}"

    def place(path: Path) -> tuple[int, str]:
        top = depth == 1 and path.stem in ORDER
        return (ORDER.index(path.stem) if top else len(ORDER), path.name)

    for path in sorted(folder.iterdir(), key=place):
        if (path / "__init__.py").is_file():
            yield line(f"{path.name}/", path / "__init__.py")
            yield from lines_of(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield line(path.name, path)


def tree() -> str:
    """Return the tree of both packages, a line per folder and module."""
    packages = (ROOT / "denoisplit", ROOT / "packaging" / "denoisplit_zoo")
    lines = []
    for package in packages:
        name = package.relative_to(ROOT).as_posix() + "/"
        lines += [f"{name:<{COLUMN - 1}} {first_line(package / '__init__.py')}"]
        lines += lines_of(package, 1)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda _: tree(), text), encoding="utf-8")
