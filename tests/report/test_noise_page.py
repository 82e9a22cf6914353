"""The page of a noise model: what is drawn, what is said, that it stands alone."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from denoisplit.evaluation.risk import noise_variance
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality, VarianceBins
from denoisplit.noise_models.pairs import Pairs
from denoisplit.report.noise_page import noise_page, noise_section
from denoisplit.report.noise_plots import digits, line_text, marked_signals, noise_figures

VARIANCE = 25.0


def gaussian(variance: float = VARIANCE) -> GaussianMixture:
    weight = np.zeros((3, 2))
    weight[1] = np.log(variance), -50.0
    return GaussianMixture(weight, 0.0, 200.0, 1e-3)


def pairs(count: int = 200_000, *, step: float = 0.0) -> Pairs:
    """Many dark signals, few bright ones; observations of a Gaussian of std 5."""
    rng = np.random.default_rng(0)
    signal = 200 * rng.beta(0.6, 3, count)
    observed = signal + rng.normal(0, VARIANCE**0.5, count)
    if step:
        observed = step * np.rint(observed / step)
    block = np.arange(count) // 32
    return Pairs(signal, observed, block, step=step, source="a made-up <b>source</b>")


def quality() -> Quality:
    signal = np.linspace(10, 180, 20)
    bins = VarianceBins(
        signal=signal, measured=signal + 5, model=signal + 6, count=np.arange(1, 21) * 1000
    )
    return Quality(
        pairs=160_000, held_out=40_000, log_likelihood=-3.0, gaussian=-3.4, histogram=-3.1,
        bins=bins, gain=2.5, offset=-27.25, pit=np.linspace(0.9, 1.1, 20) / 20, ks=0.0125,
        correlation=(0.031, 0.042), saturated=0.013, clipped=0.0,
        source="a made-up <b>source</b>", signal_range=(0.0, 200.0),
    )  # fmt: skip


# ---------------------------------------------------------------- figures


def test_every_pair_is_in_the_histogram() -> None:
    shown = pairs()
    (densities, _, _), _ = noise_figures(gaussian(), quality(), shown)
    counts = densities.axes[0].images[0].get_array() ** 4
    assert counts.sum() == pytest.approx(len(shown), rel=1e-3)


def test_densities_are_drawn_where_the_pairs_are() -> None:
    shown = pairs()
    (densities, _, _), _ = noise_figures(gaussian(), quality(), shown)
    joint, *single = densities.axes
    signals = marked_signals(shown.signal)
    assert len(single) == len(signals) == 4
    for axes, signal in zip(single, signals, strict=True):
        assert axes.get_title("left") == f"signal {digits(signal)}"
        x, density = axes.lines[0].get_data()
        assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
        assert x[density.argmax()] == pytest.approx(signal, abs=0.1)
        heights = np.array([bar.get_height() for bar in axes.patches])
        width = axes.patches[0].get_width()
        assert heights.sum() * width == pytest.approx(1, abs=1e-6)
        centres = np.array([bar.get_x() for bar in axes.patches]) + width / 2
        expected = np.exp(-((centres - signal) ** 2) / 2 / VARIANCE)
        expected /= expected.sum() * width
        # heights are counts: four standard errors, the rarest bin about one pair
        count = (np.abs(shown.signal - signal) <= 0.01 * np.ptp(shown.signal)).sum()
        error = np.sqrt((expected * width * count + 1) / count**2) / width
        assert (np.abs(heights - expected) < 4 * error).all()
    # in the histogram they stand on the side of the smaller signals, clear of each other
    curves = [line.get_xdata() for line in joint.lines if len(line.get_xdata()) > 2]
    for curve, signal, before in zip(curves, signals, [0, *signals], strict=False):
        assert before < np.nanmin(curve) < np.nanmax(curve) <= signal


@pytest.mark.parametrize("step", [1.0, 1 / 255])
def test_levels_of_a_recording_leave_no_stripes(step: float) -> None:
    """With bins that hold now two and now three levels, neighbours would differ by a half."""
    rng = np.random.default_rng(0)
    signal = step * rng.uniform(0, 300, 400_000)
    observed = step * np.rint(signal / step + rng.normal(0, 6, signal.size))
    shown = Pairs(signal, observed, np.arange(signal.size), step=step, source="")
    model = GaussianMixture(np.array([[0, 0], [np.log(36 * step**2), -50], [0, 0]]), 0,
                            300 * step, 1e-9)  # fmt: skip
    (densities, _, _), _ = noise_figures(model, quality(), shown)
    counts = densities.axes[0].images[0].get_array() ** 4
    rows = counts.sum(axis=1)[10:-10]
    assert (np.abs(np.diff(rows)) < 0.1 * rows.mean()).all()


def test_marked_signals_have_pairs_around_them() -> None:
    rng = np.random.default_rng(0)
    two_kinds = np.concatenate([rng.normal(10, 1, 50_000), rng.normal(1000, 1, 1000)])
    marked = marked_signals(two_kinds)
    np.testing.assert_allclose(marked, [10, 1000], atol=1)


def test_judgement_shows_the_numbers() -> None:
    found = quality()
    _, (figure, _, _) = noise_figures(gaussian(), found, pairs())
    variance, integral, likelihood = figure.axes
    model, line = variance.lines
    np.testing.assert_allclose(model.get_ydata(), noise_variance(gaussian(), model.get_xdata()))
    np.testing.assert_allclose(line.get_ydata(), 2.5 * line.get_xdata() - 27.25)
    (points,) = variance.collections
    np.testing.assert_allclose(
        points.get_offsets(), np.column_stack([found.bins.signal, found.bins.measured])
    )
    assert "2.50 × signal − 27.2" in variance.get_legend().get_texts()[1].get_text()
    heights = np.array([bar.get_height() for bar in integral.patches])
    np.testing.assert_allclose(heights, 20 * found.pit)
    assert "1.2 % from uniform" in integral.texts[0].get_text()
    ours, histogram = likelihood.patches
    assert (ours.get_width(), histogram.get_width()) == pytest.approx((0.4, 0.3))
    assert [text.get_text() for text in likelihood.texts] == [
        "noise model: +0.400", "histogram: +0.300"
    ]  # fmt: skip


def test_a_likelihood_below_the_gaussian_is_seen() -> None:
    _, (figure, _, _) = noise_figures(gaussian(), replace(quality(), gaussian=-2.0), pairs())
    axes = figure.axes[2]
    low, high = axes.get_xlim()
    assert low < -1.1 and high > 0
    assert axes.texts[0].get_text() == "noise model: -1.000"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (4, "4.00"), (-14.12, "-14.1"), (127.4, "127"), (32768.3, "32768"),
     (0.01234, "0.0123"), (1.5e-5, "1.5e-05"), (2.5e8, "2.5e+08")],
)  # fmt: skip
def test_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_line_in_words() -> None:
    assert line_text(replace(quality(), offset=3.0)) == "2.50 × signal + 3.00"


# ---------------------------------------------------------------- the page


def test_page_stands_alone() -> None:
    page = noise_page("<i>ER</i>", gaussian(), quality(), pairs())
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert "<i>" not in page and "<b>" not in page
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(sources) == page.count("<img ") == 2
    for source in sources:
        assert base64.b64decode(source, validate=True).startswith(b"\x89PNG")


def test_page_says_how_well_it_fits() -> None:
    found = quality()
    text = re.sub(r"<[^>]+>", " ", noise_page("ER", gaussian(), found, pairs()))
    for words in (*found.verdict(), "Noise model ER", "160,000 and 40,000", "2.50 × signal − 27.2",
                  "-3.0000 nat", "0.031 and 0.042", "1.3 %"):  # fmt: skip
        assert words.replace("<b>", "&lt;b&gt;").replace("</b>", "&lt;/b&gt;") in text


def test_page_of_exposures_says_how_they_were_brought_to_one_scale() -> None:
    page = noise_page("ER", gaussian(), quality(), replace(pairs(), line=(0.4, -12.0)))
    assert "<td>0.400 × intensity − 12.0</td>" in page
    assert "from the long exposure" not in noise_page("ER", gaussian(), quality(), pairs())


def test_section_is_a_part_of_a_page() -> None:
    part = noise_section(gaussian(), quality(), pairs(), colour="#123456")
    assert "<html" not in part and part.count("<img ") == 2
