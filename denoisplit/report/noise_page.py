"""Page about one noise model: how well it fits, in words, figures and numbers."""

from __future__ import annotations

from html import escape

from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality
from denoisplit.noise_models.pairs import Pairs
from denoisplit.report.html import document, figure, head, paragraphs, section, small
from denoisplit.report.noise_plots import digits, line_expression, line_text, noise_figures


def noise_page(name: str, model: GaussianMixture, quality: Quality, pairs: Pairs) -> str:
    """Return the HTML page about one noise model.

    Parameters
    ----------
    name : str
        Name of the model.
    model, quality, pairs
        As for `noise_section`.
    """
    summary, *rest = quality.verdict()
    return document(
        f"{name}: a noise model",
        head(f"Noise model {name}", f"from {quality.source}")
        + f'<p class="summary">{escape(summary)}</p>',
        paragraphs(*rest),
        section("Does it fit?", _figures(model, quality, pairs, None)),
        section("Numbers", _numbers(model, quality, pairs)),
    )


def noise_section(
    model: GaussianMixture, quality: Quality, pairs: Pairs, *, colour: str | None = None
) -> str:
    """Return verdict, figures and numbers of a noise model, as part of another page.

    Parameters
    ----------
    quality : Quality
        Quality of its fit.
    pairs : Pairs
        Pairs of signal and observation, raw intensity.
    colour : str, optional
        Colour of the model in the figures.
    """
    return (
        paragraphs(*quality.verdict())
        + _figures(model, quality, pairs, colour)
        + _numbers(model, quality, pairs)
    )


def _figures(model: GaussianMixture, quality: Quality, pairs: Pairs, colour: str | None) -> str:
    return "".join(figure(*one) for one in noise_figures(model, quality, pairs, colour=colour))


def _numbers(model: GaussianMixture, quality: Quality, pairs: Pairs) -> str:
    low, high = quality.signal_range
    along_x, along_y = quality.correlation
    rows = {
        "Pairs used in the fit, and held out": f"{quality.pairs:,} and {quality.held_out:,}",
        "Range of signals": f"{digits(low)} to {digits(high)}",
        "Gaussians": f"{model.components}",
        "Straight line through the variance": line_text(quality),
        "Log-likelihood per held-out pair": f"{quality.log_likelihood:.4f} nat",
        "Log-likelihood of the histogram model": f"{quality.histogram:.4f} nat",
        "Log-likelihood of a Gaussian of constant variance": f"{quality.gaussian:.4f} nat",
        "Largest deviation of the probability integral transform from uniform": f"{quality.ks:.4f}",
        "Correlation of noise with the next pixel in x and y": f"{along_x:.3f} and {along_y:.3f}",
        "Excluded as saturated": f"{100 * quality.saturated:.2g} %",
        "Excluded as clipped at the lower end": f"{100 * quality.clipped:.2g} %",
    }
    if pairs.line is not None:
        gain, offset = pairs.line
        rows["Signal, from the long exposure"] = line_expression(gain, "intensity", offset)
    body = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in rows.items()
    )
    return f"<table><tbody>{body}</tbody></table>" + small(
        "Signals and variances are in raw intensity. If the noise is shot noise and readout noise, "
        "the slope of the straight line is the gain of the camera in grey levels per detected "
        "photon. Held-out pairs come from pixels that were not used in the fit."
    )
