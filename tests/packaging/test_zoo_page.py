"""The page of `make example`: every package as the zoo shows it, in one file without scripts."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path

from denoisplit_zoo.archive import read_package

MODULE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "zoo_page.py"))


def test_every_package_has_cover_card_facts_and_files(package: Path) -> None:
    contents = read_package(package)
    card = contents.files["README.md"] + b"\n<script>alert(1)</script>\n"
    other = replace(contents, files={**contents.files, "README.md": card})
    text = MODULE["page"]([contents, other])
    assert text.count("<article") == text.count('src="data:image/png;base64,iVBOR') == 2
    assert "<script" not in text and not re.search(
        r'(src|href)="(?!#|data:)', text.split("<h2>")[0]
    )
    for name in contents.files:
        assert text.count(f"<td>{name}</td>") == 2
    for part in (
        "<h2>Validation</h2>",
        "<td>Ada L.</td>",
        "<h2>11 files</h2>",
        "<td>PSNR (dB)</td>",
    ):
        assert text.count(part) == 2, part
