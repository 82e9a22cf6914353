"""Write a page with packages as the site of the BioImage Model Zoo shows them.

    python docs/zoo_page.py PACKAGE.zip [PACKAGE.zip ...] -o PAGE.html

Cover, card, facts and files of each package, in one file without scripts. As on the site, the card
is Markdown with tables, without HTML and images of its own.
"""

from __future__ import annotations

import argparse
import base64
from html import escape
from pathlib import Path
from typing import Any

import markdown
from denoisplit_zoo.archive import Contents, mappings, read_package

from denoisplit.files.atomic import write_text

STYLE = """
body { font: 16px/1.5 sans-serif; color: #1f2937; background: #eef1f5; max-width: 72rem;
  margin: auto; padding: 1rem }
section { background: white; border-radius: 12px; padding: 1rem 2rem; margin: 1rem 0;
  overflow-x: auto }
.columns { display: grid; grid-template-columns: 2fr 1fr; gap: 1rem; align-items: start }
.cover { display: block; max-height: 32rem; max-width: 100%; margin: auto }
.tag { display: inline-block; background: #e0e7ff; border-radius: 8px; padding: 0 .5em;
  margin: .15em }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border: 1px solid #d5d9e0; padding: .15em .6em; text-align: left;
  overflow-wrap: anywhere }
th { white-space: nowrap }
pre { background: #f4f5f7; padding: .6em; overflow-x: auto }
"""


def page(packages: list[Contents]) -> str:
    """Return the page; every package has a place of its own, named by its nickname."""
    nicknames = [package.description["config"]["bioimageio"]["nickname"] for package in packages]
    links = " · ".join(f'<a href="#{name}">{name}</a>' for name in nicknames)
    parts = [
        f'<article id="{name}">{article(package)}</article>'
        for name, package in zip(nicknames, packages, strict=True)
    ]
    return (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Packages</title>'
        f"<style>{STYLE}</style><nav>{links}</nav>{''.join(parts)}</html>\n"
    )


def article(package: Contents) -> str:
    """Return one package: title and cover, then the card, with facts and files beside it."""
    described = package.description
    covers = "".join(
        f'<img class="cover" alt="cover" src="data:image/png;base64,{encoded}">'
        for encoded in (base64.b64encode(package.files[c]).decode() for c in described["covers"])
    )
    card = package.files[described["documentation"]].decode().replace("<", "&lt;")
    tags = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in described["tags"])
    facts = {
        "authors": people(described, "authors"),
        "maintainers": people(described, "maintainers"),
        "license": escape(described["license"]),
        "repository": escape(described.get("git_repo", "")),
        "weights": ", ".join(described["weights"]),
        "cite": "<br>".join(f"{escape(c['text'])}, {escape(c['doi'])}" for c in described["cite"]),
    }
    rows = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in facts.items())
    files = "".join(
        f"<tr><td>{escape(name)}</td><td>{len(data) / 1000:.0f} KB</td></tr>"
        for name, data in package.files.items()
    )
    return (
        f"<section><h1>{escape(described['name'])}</h1><p>{escape(described['description'])}</p>"
        f'{tags}{covers}</section><div class="columns"><section>'
        f"{markdown.markdown(card, extensions=['tables', 'fenced_code', 'sane_lists'])}</section>"
        f"<section><table>{rows}</table><h2>{len(package.files)} files</h2><table>{files}</table>"
        "</section></div>"
    )


def people(described: Any, key: str) -> str:
    """Return names or accounts of the people in one entry."""
    return ", ".join(
        escape(p.get("name") or p["github_user"]) for p in mappings(described.get(key))
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    write_text(given.output, page([read_package(path) for path in given.packages]))


if __name__ == "__main__":
    main()
