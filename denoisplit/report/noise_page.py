"""A noise model as a page: whether it fits, in words, numbers and figures."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality
from denoisplit.noise_models.pairs import Pairs
from denoisplit.report.html import document, figure, paragraphs, section, small
from denoisplit.report.noise_plots import digits, line_text, line_words, noise_figures
from denoisplit.version import __version__


def noise_page(name: str, model: GaussianMixture, quality: Quality, pairs: Pairs) -> str:
    """The HTML of a page about one noise model.

    Parameters
    ----------
    name : str
        What the model is called.
    model, quality, pairs
        As of `noise_section`.
    """
    facts = [
        f"from {quality.source}",
        f"denoisplit {__version__}",
        datetime.now(UTC).astimezone().strftime("%d %B %Y").lstrip("0"),
    ]
    summary, *rest = quality.verdict()
    head = (
        f"<h1>{escape(f'Noise model {name}')}</h1>\n"
        f'<p class="facts">{escape(" · ".join(facts))}</p>\n'
        f'<p class="summary">{escape(summary)}</p>'
    )
    return document(
        f"{name}: a noise model",
        head,
        paragraphs(*rest),
        section("Does it fit?", _figures(model, quality, pairs, None)),
        section("Numbers", _numbers(model, quality, pairs)),
    )


def noise_section(
    model: GaussianMixture, quality: Quality, pairs: Pairs, *, colour: str | None = None
) -> str:
    """The same without a head, as a part of another page.

    Parameters
    ----------
    model : GaussianMixture
    quality : Quality
        Of the model.
    pairs : Pairs
        Of signal and observation, raw intensity.
    colour : str, optional
        Of the model in the figures.
    """
    return (
        paragraphs(*quality.verdict())
        + _figures(model, quality, pairs, colour)
        + _numbers(model, quality, pairs)
    )


def _figures(model: GaussianMixture, quality: Quality, pairs: Pairs, colour: str | None) -> str:
    return "".join(
        figure(drawn, alternative, caption)
        for drawn, alternative, caption in noise_figures(model, quality, pairs, colour=colour)
    )


def _numbers(model: GaussianMixture, quality: Quality, pairs: Pairs) -> str:
    low, high = quality.signal_range
    along_x, along_y = quality.correlation
    rows = {
        "Pairs fitted to, and held out": f"{quality.pairs:,} and {quality.held_out:,}",
        "Signals": f"{digits(low)} to {digits(high)}",
        "Gaussians": f"{model.components}",
        "Variance, as a straight line": line_text(quality),
        "Log-likelihood per held-out pair": f"{quality.log_likelihood:.4f} nat",
        "Log-likelihood of the histogram model": f"{quality.histogram:.4f} nat",
        "Log-likelihood of a Gaussian of one variance": f"{quality.gaussian:.4f} nat",
        "Greatest distance of the integral transform from uniform": f"{quality.ks:.4f}",
        "Correlation of neighbouring noise in x and y": f"{along_x:.3f} and {along_y:.3f}",
        "Left out as saturated": f"{100 * quality.saturated:.2g} %",
        "Left out as clipped at the lower end": f"{100 * quality.clipped:.2g} %",
    }
    if pairs.line is not None:
        gain, offset = pairs.line
        rows["Signal, from the long exposure"] = line_words(gain, "intensity", offset)
    body = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in rows.items()
    )
    return f"<table><tbody>{body}</tbody></table>" + small(
        "Signals and variances are in raw intensity. The slope of the straight line is the gain of "
        "the camera in grey levels per detected photon, if its noise is that of photons and of "
        "its electronics. Held-out pairs are from pixels that the model was not fitted to."
    )
