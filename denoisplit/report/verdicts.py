"""Sentences on what a split is worth: verdicts, and where its error bars are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPARSIFICATION = (
    "Root mean squared error of the pixels that are left when those of the largest error bars are "
    "removed, relative to that of all pixels: the steeper the better."
)


def verdict_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Return the verdict on each structure, if the run has verdicts."""
    return [verdict["sentence"] for verdict in metrics.get("verdicts") or []]


def error_bar_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Return where the error bars of each structure are wrong, if the run has an error map."""
    return [
        sentence
        for name, scores in (metrics.get("error_bars") or {}).items()
        if (sentence := _where_wrong(name, scores))
    ]


def _where_wrong(name: str, scores: Mapping[str, Any]) -> str:
    """Compare error and error bar in the brightest pixels and in the background."""
    places = {"in the brightest 5 % of the pixels": scores["brightest"]}
    if scores["background"]["judged"]:
        places["in the background"] = scores["background"]
    estimated = scores["estimated"]
    sizes = {
        place: _times(part["error_over_claimed"], with_range=estimated)
        for place, part in places.items()
    }
    origin = ", estimated without truth," * estimated
    texts: list[str] = []
    for place, size in sizes.items():
        if size and not texts:
            texts.append(f"{place} the error of {name} is{origin} {size} the error bar")
        elif size:
            texts.append(f"{place} {size}")
    text = "; ".join(texts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _times(ratio: Mapping[str, float | None], *, with_range: bool) -> str:
    """Return the error in units of the error bar, in words; empty if it is unknown."""
    value, low, high = ratio["value"], ratio["low"], ratio["high"]
    if value is None:
        return "" if high is None else f"at most {high:.1f} times"
    return f"{value:.1f} times" + f" ({low:.1f} to {high:.1f})" * with_range


def groups_caption(scores: Mapping[str, Any]) -> str:
    """Return how to read the figure of error bars by intensity."""
    text = (
        "Pixels of all test frames in deciles of the blurred prediction, the brightest in two "
        "halves; the edges are those of the validation frames. Groups with under 1 % of the pixels "
        "are shown hollow, and not judged."
    )
    if any(score["estimated"] for score in scores.values()):
        text += (
            " Without a truth, the error of each group is estimated, with its range; a triangle is "
            "an upper bound. Coverage, AUSE and rank correlation need the true error of every "
            "pixel."
        )
    return text


def coverage_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Return how many pixels are inside their intervals, where the truth is known."""
    sentences = []
    for name, scores in (metrics.get("error_bars") or {}).items():
        if scores["coverage"] is None:
            continue
        frames = [share for share in scores["frames"]["coverage"] if share is not None]
        spread = f", in single frames {100 * min(frames):.0f} to {100 * max(frames):.0f} %"
        sentences.append(
            f"The 90 % interval contains the truth in {100 * scores['coverage']:.0f} % of the "
            f"pixels of {name}{spread * (len(frames) > 1)}; its mean width is "
            f"{scores['mean_width']:.3g}."
        )
    return sentences
