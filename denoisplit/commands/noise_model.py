"""``denoisplit noise-model fit``: images -> a noise model, and a page that shows how it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from denoisplit.config.groups import Preset
from denoisplit.config.seeds import check_seed
from denoisplit.config.settings import Settings, settings_from
from denoisplit.data.statistics import pooled_std
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written, write_new
from denoisplit.images import Files, each_of, read_frames
from denoisplit.images.repeats import read_repeats
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.from_noisy import check_noisy, pairs_of_noisy
from denoisplit.noise_models.goodness_of_fit import Quality, fit_pairs
from denoisplit.noise_models.pairs import Pairs, from_clean, from_exposures, from_repeats
from denoisplit.noise_models.validity import correlation_warning
from denoisplit.progress import Bar, bar, logger
from denoisplit.report.noise_page import noise_page

PathLike = str | Path
OnStep = Callable[[int, int], None]
Image = npt.NDArray[Any]

ROUTES = ("repeats", "clean", "noisy")  # the other one has two kinds of images
DENOISER = 92  # per cent of the time of a fit to noisy images alone


@dataclass(frozen=True)
class NoiseModelFit:
    """A noise model that was fitted, how well, and the two files that were written."""

    model: GaussianMixture
    quality: Quality
    path: Path
    page: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all but the weights."""
        return {
            "model": str(self.path),
            "page": str(self.page),
            "verdict": self.quality.verdict(),
            "components": self.model.components,
            **self.quality.as_dict(),
        }


def fit_noise_model(
    output: PathLike,
    *,
    repeats: Files = (),
    clean: Files = (),
    noisy: Files = (),
    signal: Files = (),
    observed: Files = (),
    synthetic_poisson: float = 0.0,
    synthetic_gaussian: float = 0.0,
    preset: Preset | None = None,
    components: int | None = None,
    seed: int = 0,
    noise_model_fit: Mapping[str, Any] | None = None,
    n2v: Mapping[str, Any] | None = None,
) -> NoiseModelFit:
    """Fit a noise model to images of one of four kinds; writes it, and a page about it.

    Parameters
    ----------
    output : path
        The noise model (.npz) in the exchange format; the page is the .html file beside it.
    repeats : path or sequence of path
        Shots of static scenes. A file of several planes is one scene; all files of one plane
        together are another.
    clean : path or sequence of path
        Clean images, to which the synthetic noise is added.
    noisy : path or sequence of path
        Noisy images alone: a Noise2Void denoiser is trained on them. Until the model is written,
        a checkpoint lies beside it, from which the same call goes on after an interruption.
    signal, observed : path or sequence of path
        Long and short exposures of the same fields, in the same order.
    synthetic_poisson : float
        f, raw intensity per event; with ``clean``.
    synthetic_gaussian : float
        Level in units of the std of the clean images; with ``clean``.
    preset : {"default", "small", "paper"}, optional
        Of the denoiser, and in "paper" of the number of Gaussians, 6; with ``noisy``.
    components : int, optional
        Number of Gaussians; by default as many as held-out pairs call for.
    seed : int
        Of everything random.
    noise_model_fit, n2v : mapping, optional
        Single settings of the fit and of the denoiser, as those of `train`.

    Returns
    -------
    NoiseModelFit

    Raises
    ------
    InputError
        For images or settings that do not fit; nothing is left half-written.
    """
    path = Path(output)
    every = {
        "repeats": repeats,
        "clean": clean,
        "noisy": noisy,
        "signal": signal,
        "observed": observed,
    }
    given = {kind: each_of(files) for kind, files in every.items() if files}
    _check_route(tuple(given))
    if not clean:
        _refuse_without(
            "--clean",
            ("--synthetic-poisson", synthetic_poisson),
            ("--synthetic-gaussian", synthetic_gaussian),
        )
    if not noisy:
        _refuse_without("--noisy", ("--preset", preset), ("n2v", n2v))
    check_seed(seed)
    settings = _settings(seed, preset, components, noise_model_fit, n2v)
    page, checkpoint = _beside(path)
    images = {
        kind: read_repeats(files) if kind == "repeats" else read_frames(files).images
        for kind, files in given.items()
    }
    with _naming(given):
        if noisy:
            check_noisy(images["noisy"])
            _make_folder(path)
            with bar("denoiser", 100) as progress, _resumable(checkpoint):
                pairs = pairs_of_noisy(
                    images["noisy"],
                    settings.n2v,
                    seed=seed,
                    checkpoint=checkpoint,
                    on_step=_part(progress, 0, DENOISER, "denoiser"),
                )
                model, quality = _fit(pairs, settings, {}, _part(progress, DENOISER, 100))
        else:
            pairs, about = _pairs(images, synthetic_poisson, synthetic_gaussian, seed)
            pairs.check_noise()
            with bar("noise model", 100) as progress:
                model, quality = _fit(pairs, settings, about, _part(progress, 0, 100))
    warning = correlation_warning(pairs.correlation)
    if warning:
        logger.warning("%s", warning)
    _make_folder(path)
    write_new({path: model.to_bytes(), page: noise_page(path.stem, model, quality, pairs).encode()})
    if noisy:
        checkpoint.unlink(missing_ok=True)
    return NoiseModelFit(model, quality, path, page)


# ---------------------------------------------------------------- what was asked for


def _check_route(kinds: tuple[str, ...]) -> None:
    """Exactly one kind of images, or the two of a pair."""
    if kinds == ("signal", "observed") or (len(kinds) == 1 and kinds[0] in ROUTES):
        return
    found = " and ".join(f"--{kind}" for kind in kinds) or "no images"
    raise InputError(
        where="noise-model fit",
        found=found,
        expected=f"one of {', '.join(f'--{kind}' for kind in ROUTES)}, or --signal with --observed",
        remedy="give images of one kind",
    )


def _refuse_without(needed: str, *options: tuple[str, Any]) -> None:
    for name, value in options:
        if value:
            raise InputError(
                where=name,
                found=f"{value} without {needed}",
                expected=f"it beside {needed} only",
                remedy="leave it out",
            )


def _settings(
    seed: int,
    preset: Preset | None,
    components: int | None,
    noise_model_fit: Mapping[str, Any] | None,
    n2v: Mapping[str, Any] | None,
) -> Settings:
    """Those of a training with the preset, of which denoiser and fit are used."""
    fit = dict(noise_model_fit or {})
    if components is not None:
        fit["components"] = components
    return settings_from(
        {
            "structures": [{"name": "images", "files": ["images"]}],
            "seed": seed,
            "preset": preset or "default",
            "noise_model_fit": fit,
            "n2v": dict(n2v or {}),
        }
    )


def _beside(path: Path) -> tuple[Path, Path]:
    """The page and the checkpoint beside a model that can be written."""
    if path.suffix != ".npz":
        raise InputError(
            where=path,
            found=f"file type {path.suffix!r}",
            expected=".npz, the exchange format",
            remedy="rename the output",
        )
    page = path.with_suffix(".html")
    for there in (path, page):
        if there.exists() or there.is_symlink():
            raise InputError(
                where=there,
                found="an existing file",
                expected="a new name",
                remedy="move it, or choose another",
            )
    return page, path.with_suffix(".n2v.ckpt")


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from error


# ---------------------------------------------------------------- images to pairs


def _pairs(
    images: Mapping[str, Sequence[Image]], poisson_factor: float, level: float, seed: int
) -> tuple[Pairs, dict[str, str | float]]:
    """Pairs, and the noise that was added, by the routes that need no denoiser."""
    if "repeats" in images:
        return from_repeats(stacks=images["repeats"], seed=seed), {}
    if "clean" in images:
        frames = tuple(images["clean"])
        noise = SyntheticNoise(poisson_factor, level * pooled_std((frames,)))
        about = {"poisson_factor": noise.poisson_factor, "gaussian_sigma": noise.gaussian_sigma}
        return from_clean(frames=frames, noise=noise, seed=seed), dict(about)
    return from_exposures(signal=images["signal"], observed=images["observed"], seed=seed), {}


@contextmanager
def _resumable(checkpoint: Path) -> Iterator[None]:
    """Keep the checkpoint where the same command can go on from it."""
    if checkpoint.exists():
        logger.info("%s: the training of the denoiser goes on from here", checkpoint)
    try:
        yield
    except InputError as error:
        if error.where != str(checkpoint):  # the images are at fault: there is nothing to go on to
            checkpoint.unlink(missing_ok=True)
        raise
    except KeyboardInterrupt:
        if checkpoint.exists():
            logger.info("%s: the same command will go on from here", checkpoint)
        raise


# ---------------------------------------------------------------- pairs to a model


def _fit(
    pairs: Pairs, settings: Settings, about: dict[str, str | float], told: OnStep
) -> tuple[GaussianMixture, Quality]:
    fit = settings.noise_model_fit
    return fit_pairs(
        pairs,
        components=fit.components,
        coefficients=fit.coefficients,
        steps=fit.steps,
        seed=settings.seed,
        about=about,
        on_step=told,
    )


def _part(progress: Bar, start: int, end: int, description: str = "noise model") -> OnStep:
    """Steps of one stage as a part of the bar, in per cent."""

    def told(done: int, total: int) -> None:
        progress.to(start + (end - start) * done // total, description)

    return told


@contextmanager
def _naming(given: Mapping[str, Sequence[PathLike]]) -> Iterator[None]:
    """Name the files in what is said of their pixels."""
    names = [str(file) for files in given.values() for file in files]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    try:
        yield
    except InputError as error:
        where = f"{error.where} ({', '.join(names[:2])}{more})"
        raise error.replace(where=where) from error
