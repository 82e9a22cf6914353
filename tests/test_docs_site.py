"""The site is built as `make docs` builds it, which executes the notebooks.

mkdocs and the kernels of the notebooks start at once, see tests/forked.py.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import denoisplit
from denoisplit.config.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; warnings of mkdocs and errors in notebooks end the build."""
    folder = tmp_path_factory.mktemp("site")
    python, kernel = str(programs / "python"), tmp_path_factory.mktemp("jupyter")
    (kernel / "kernels/python3").mkdir(parents=True)
    (kernel / "kernels/python3/kernel.json").write_text(
        json.dumps(
            {
                "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "env": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
                "display_name": "Python 3",
                "language": "python",
            }
        )
    )
    command = [python, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"JUPYTER_PATH": str(kernel)},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text("utf-8")


def words(site: Path, name: str) -> str:
    """The text of a page, without the navigation."""
    article = page(site, name).partition("<article")[2].partition("</article")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", article))


def test_every_page_is_in_the_site(site: Path) -> None:
    names = {path.stem for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/notebooks/*.ipynb")]}
    built = {path.stem for path in site.rglob("*.html")}
    assert built == names | {"index", "cli", "404"}


def test_every_public_name_is_documented_with_its_options(site: Path) -> None:
    text = page(site, "api")
    for name in set(denoisplit.__all__) - {"__version__"}:
        assert f'id="denoisplit.{name}"' in text, name
    assert "{options}" not in text
    assert 'id="denoisplit.Run.predict"' in text
    assert "Images of each structure" in words(site, "api")


def test_every_command_shows_its_help(site: Path) -> None:
    text = words(site, "cli")
    for command in COMMANDS.values():
        assert f"usage: denoisplit {command.name}" in text
        assert command.example in text


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", path.read_text("utf-8"))
        assert tags
        assert [tag for tag in tags if "//" in tag and 'rel="canonical"' not in tag] == []


def test_formulas_need_no_script(site: Path) -> None:
    text = page(site, "method")
    assert text.count("<math") > 50
    assert "arithmatex" not in text


def test_search_finds_symptoms(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text("utf-8"))
    found = [entry["location"] for entry in index["docs"] if "not usable" in entry["title"]]
    assert any(place.startswith("troubleshooting.html#") for place in found)


@pytest.mark.parametrize(("name", "pictures"), [("own_images", 1), ("uncertainty", 3)])
def test_executed_notebooks_show_results_and_no_stray_lines(
    name: str, pictures: int, site: Path
) -> None:
    text = words(site, f"notebooks/{name}")
    assert "<SplitImage of ER, MT;" in text or "of the pixels" in text
    assert not re.search(r"Warning|Traceback|Error:", text)
    alarms = re.findall(r"input unlike the training data.*", text)
    assert len(alarms) == (name == "uncertainty")  # of the image that is to raise one
    shown = [
        site / "notebooks" / src
        for src in re.findall(r'<img[^>]*src="([^"]+\.png)"', page(site, f"notebooks/{name}"))
    ]
    assert len(shown) == pictures
    assert all(path.stat().st_size > 10_000 for path in shown)


def test_notebooks_are_stored_without_results() -> None:
    for path in ROOT.glob("docs/notebooks/*.ipynb"):
        cells = [
            c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"
        ]
        assert cells
        assert all(not c["outputs"] and c["execution_count"] is None for c in cells)
