"""Plots of error bars: coverage by intensity, and sparsification curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from denoisplit.evaluation.error_bars import COVERAGE
from denoisplit.images.display import ink
from denoisplit.report.style import FAINT, INK, legend, plain, square_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = "intensity group, dark to bright"
CURVES = {  # keys of "sparsification" -> label, line style
    "error_map": ("error bar", "-"),
    "scaled_spread": ("scaled spread", "-"),
    "oracle": ("true error (best possible)", "--"),
}


def groups_figure(scores: Mapping[str, Any]) -> Figure:
    """Draw coverage by intensity, one panel per structure; error over error bar without a truth.

    Parameters
    ----------
    scores : mapping of name to scores
        As from `denoisplit.evaluation.error_bars.score_error_bars`.
    """
    figure, panels = square_panels(len(scores))
    for k, (axes, (name, score)) in enumerate(zip(panels, scores.items(), strict=True)):
        if score["coverage"] is not None:
            plain(axes, name, GROUPS, f"coverage of the {100 * COVERAGE:.0f} % interval")
            axes.axhline(COVERAGE, color=FAINT, linestyle="--", linewidth=1.2, label="nominal")
            _draw_coverage(axes, score["groups"], ink(k))
        else:
            plain(axes, name, GROUPS, "error over error bar")
            axes.axhline(1, color=FAINT, linestyle="--", linewidth=1.2, label="right size")
            _draw_ratios(axes, score["groups"], ink(k))
        axes.set_xlim(0.5, len(score["groups"]) + 0.5)
        legend(axes)
    return figure


def _draw_coverage(axes: Axes, groups: list[Any], colour: str) -> None:
    for judged, face, label in ((True, colour, "test frames"), (False, "white", "too few pixels")):
        points = [
            (number, group["coverage"])
            for number, group in enumerate(groups, start=1)
            if group["judged"] == judged and group["coverage"] is not None
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linestyle="-" if judged else "",
                marker="o",
                markerfacecolor=face,
                label=label,
            )
    least = min((g["coverage"] for g in groups if g["coverage"] is not None), default=1)
    axes.set_ylim(min(0.5, least - 0.05), 1.01)


def _draw_ratios(axes: Axes, groups: list[Any], colour: str) -> None:
    """Draw estimates with their ranges; those that are only bounded as a triangle at the bound."""
    for judged, face in ((True, colour), (False, "white")):
        for number, group in enumerate(groups, start=1):
            ratio = group["error_over_claimed"]
            if group["judged"] != judged or ratio["high"] is None:
                continue
            value, low, high = ratio["value"], ratio["low"], ratio["high"]
            axes.plot([number, number], [low, high], color=colour, linewidth=1.2)
            at, marker = (high, "v") if value is None else (value, "o")
            axes.plot([number], [at], color=colour, marker=marker, markerfacecolor=face)
    axes.set_ylim(0, max(1.5, axes.get_ylim()[1]))


def sparsification_figure(scores: Mapping[str, Any]) -> Figure:
    """Draw how the error falls as the most uncertain pixels are removed.

    Parameters
    ----------
    scores : mapping of name to scores
        As from `denoisplit.evaluation.error_bars.score_error_bars`.
    """
    figure, panels = square_panels(len(scores))
    for k, (axes, (name, score)) in enumerate(zip(panels, scores.items(), strict=True)):
        plain(axes, name, "most uncertain pixels removed (%)", "RMSE of the rest (relative)")
        curves = score["sparsification"]
        colours = {"error_map": ink(k), "scaled_spread": FAINT, "oracle": INK}
        for key, (label, style) in CURVES.items():
            if curves[key] is not None:
                removed = [100 * fraction for fraction in curves["removed"]]
                axes.plot(
                    removed,
                    curves[key],
                    color=colours[key],
                    linestyle=style,
                    linewidth=1.6,
                    label=label,
                )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, None)
        if axes.lines:
            legend(axes)
    return figure
