"""What is drawn of error bars."""

from __future__ import annotations

import numpy as np

from denoisplit.report.bar_plots import groups_figure, sparsification_figure


def test_coverage_by_intensity(made) -> None:
    scores = made(error_map=True).metrics["error_bars"]
    figure = groups_figure(scores)
    assert [axes.get_title("left") for axes in figure.axes] == list(scores)
    for axes, score in zip(figure.axes, scores.values(), strict=True):
        assert axes.get_ylabel() == "coverage of the 90 % interval"
        nominal, judged = axes.lines
        assert set(nominal.get_ydata()) == {0.9}
        np.testing.assert_array_equal(judged.get_xdata(), np.arange(1, len(score["groups"]) + 1))
        np.testing.assert_array_equal(
            judged.get_ydata(), [group["coverage"] for group in score["groups"]]
        )


def test_small_groups_are_hollow_and_seen(made) -> None:
    scores = made(error_map=True).metrics["error_bars"]
    group = scores["ER"]["groups"][2]
    group |= {"judged": False, "coverage": 0.2}
    axes = groups_figure(scores).axes[0]
    _, judged, small = axes.lines
    assert 3 not in judged.get_xdata()
    assert (list(small.get_xdata()), list(small.get_ydata())) == ([3], [0.2])
    assert small.get_markerfacecolor() == "white"
    assert axes.get_ylim()[0] < 0.2


def test_error_over_error_bar_without_truth(made) -> None:
    scores = made(error_map=True, truth=False).metrics["error_bars"]
    groups = scores["ER"]["groups"]
    groups[0]["error_over_claimed"] = {"value": None, "low": 0.0, "high": 0.7}
    groups[1]["error_over_claimed"] = {"value": None, "low": None, "high": None}
    axes = groups_figure(scores).axes[0]
    assert axes.get_ylabel() == "error over error bar"
    _, *drawn = axes.lines
    ranges, points = drawn[::2], drawn[1::2]
    assert [point.get_xdata()[0] for point in points] == [1, *range(3, len(groups) + 1)]
    assert (points[0].get_ydata()[0], points[0].get_marker()) == (0.7, "v")
    for line, point, group in zip(ranges[1:], points[1:], groups[2:], strict=True):
        ratio = group["error_over_claimed"]
        assert list(line.get_ydata()) == [ratio["low"], ratio["high"]]
        assert point.get_ydata()[0] == ratio["value"]


def test_sparsification_curves(made) -> None:
    labels = {"error_map": "error bar", "scaled_spread": "scaled spread",
              "oracle": "true error (best possible)"}  # fmt: skip
    scores = made(error_map=True).metrics["error_bars"]
    for axes, score in zip(sparsification_figure(scores).axes, scores.values(), strict=True):
        curves = score["sparsification"]
        drawn = {line.get_label(): line for line in axes.lines}
        assert set(drawn) == set(labels.values())
        for key, label in labels.items():
            np.testing.assert_array_equal(drawn[label].get_ydata(), curves[key])
            np.testing.assert_allclose(drawn[label].get_xdata(), 100 * np.array(curves["removed"]))
