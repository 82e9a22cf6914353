"""Building blocks of a self-contained HTML page, whose pictures are part of the file."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from denoisplit.report.style import WIDTH, png
from denoisplit.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS = """
:root { color-scheme: light dark; }
body { margin: 0; background: light-dark(#f5f6f8, #17191d); color: light-dark(#26282d, #e4e6ea);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 34px 0 8px; }
p { margin: 6px 0; max-width: 95ch; }
.facts, figcaption, .small { color: light-dark(#666b75, #a5abb6); font-size: 13px; }
.verdict { font-size: 17px; font-weight: 600; margin: 10px 0 2px; }
.summary { font-size: 17px; margin: 14px 0 16px; }
figure { margin: 10px 0; }
figure img { display: block; box-sizing: border-box; padding: 10px;
  background: #fff; border-radius: 8px; box-shadow: 0 1px 3px rgb(0 0 0 / .16); }
figcaption { margin-top: 6px; max-width: 120ch; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 0 4px 26px; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 400; padding-left: 0; }
tr.inner th { padding-left: 18px; color: light-dark(#666b75, #a5abb6); }
thead th { border-bottom: 1px solid light-dark(#c9cdd4, #4a4f58); font-weight: 600; }
tbody tr.main td { font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 0 56px; }
.pair section { flex: 1 1 380px; } .pair section:first-child { flex: 0 1 auto; max-width: 100%; }
.pair section:first-child p { max-width: 64ch; }
pre { background: light-dark(#fff, #22252b); padding: 14px; border-radius: 8px; overflow-x: auto;
  font-size: 12.5px; line-height: 1.45; }
summary { cursor: pointer; }
@media print { body { background: #fff; } figure { break-inside: avoid; } }
"""


def document(title: str, *parts: str) -> str:
    """Return the whole page; parts are HTML, and empty ones are skipped."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def head(title: str, *facts: str) -> str:
    """Return the title of a page, with facts, the release and the date below it."""
    today = datetime.now(UTC).astimezone().strftime("%d %B %Y").lstrip("0")
    line = " · ".join([*facts, f"denoisplit {__version__}", today])
    return f'<h1>{escape(title)}</h1>\n<p class="facts">{escape(line)}</p>\n'


def section(title: str, content: str) -> str:
    """Return a section with a title; ``content`` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def figure(drawn: Figure, alternative: str, caption: str) -> str:
    """Return a figure at the width that it was drawn for, with an optional caption below."""
    data = base64.b64encode(png(drawn)).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    share = 100 * drawn.get_figwidth() / WIDTH
    image = (
        f'<img alt="{escape(alternative)}" style="width:{share:.0f}%" '
        f'src="data:image/png;base64,{data}">'
    )
    return f"<figure>{image}{below}</figure>"


def paragraphs(*texts: str) -> str:
    """Return plain texts as paragraphs; empty ones are skipped."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts if text)


def small(text: str) -> str:
    """Return a plain text as a note in small letters."""
    return f'<p class="small">{escape(text)}</p>'
