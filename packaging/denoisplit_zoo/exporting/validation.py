"""Validation of a run in the model card: verdicts, metrics, and charts made of text.

The site of the zoo shows Markdown with tables, but no image of a card: it looks for file names on
its own server, and removes images that are written as data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from denoisplit.files.json_file import read_json
from denoisplit.report.tables import metrics_columns, reference_text, table_rows
from denoisplit.report.verdicts import error_bar_sentences, verdict_sentences
from denoisplit.run import METRICS, Run

LONGEST_BAR = 20  # characters, for a value of 1 half as many
EVERY = 2  # points of the sparsification curve that are shown: 10 % of the pixels


def validation(run: Run) -> str:
    """Return what the evaluation on the run's test frames has shown."""
    if not (run.path / METRICS).is_file():
        return "This run was not evaluated."
    metrics = read_json(run.path / METRICS)
    columns = metrics_columns(metrics)
    lines = [
        *(f"- {text}" for text in (*verdict_sentences(metrics), *error_bar_sentences(metrics))),
        "",
        f"Measured on {metrics['frames']} test frames that were not used for training, with "
        f"{metrics['samples']} posterior samples; {reference_text(metrics)} (mean and standard "
        "error over frames):",
        "",
        *_table(["", *columns], ([label.strip(), *cells] for label, cells in table_rows(columns))),
    ]
    for name, scores in (metrics.get("error_bars") or {}).items():
        lines += ["", *_by_intensity(name, scores["groups"])]
        curves = scores["sparsification"]
        if curves and curves["oracle"]:  # without a truth, the curve would seem perfect
            lines += ["", *_sparsification(name, curves)]
    return "\n".join(lines).lstrip()


def _by_intensity(name: str, groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a chart of coverage and size of the error bars, by intensity of the result."""
    with_coverage = any(group["coverage"] is not None for group in groups)
    header = [f"intensity of {name}", "error / error bar (right: 1)"]
    rows = []
    for group in groups:
        ratio = group["error_over_claimed"]
        size = _bar(ratio["value"]) or (f"at most {ratio['high']:.2f}" if ratio["high"] else "")
        few = "" if group["judged"] else " (few pixels)"
        coverage = [_bar(group["coverage"])] if with_coverage else []
        rows.append([f"{group['intensity']:.3g}{few}", size, *coverage])
    more = ["in the 90 % interval (right: 0.9)"] if with_coverage else []
    yield from _table([*header, *more], rows)


def _sparsification(name: str, curves: Mapping[str, Any]) -> Iterator[str]:
    """Yield a chart of the error that is left without the pixels of the largest error bars."""
    points = zip(curves["removed"], curves["error_map"], curves["oracle"], strict=True)
    rows = [
        [f"{removed:.0%}", _bar(left), f"{least:.2f}"]
        for removed, left, least in list(points)[::EVERY]
    ]
    header = [f"{name}: pixels of the largest error bars left out", "RMSE of the others (relative)"]
    yield from _table([*header, "at best"], rows)


def _bar(value: float | None) -> str:
    """Return a number with a bar as long; nothing without a number."""
    if value is None:
        return ""
    length = min(LONGEST_BAR, round(value * LONGEST_BAR / 2))
    return f"{'█' * length} {value:.2f}"


def _table(header: Sequence[str], rows: Any) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"
