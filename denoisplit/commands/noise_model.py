"""``denoisplit noise-model fit``: fit a noise model to images, and show how well it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.everyday import NOISE_MODEL_FIT
from denoisplit.config.groups import Preset
from denoisplit.config.options import documented
from denoisplit.config.seeds import check_seed
from denoisplit.config.settings import Settings, settings_from
from denoisplit.data.statistics import pooled_std
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.files.atomic import complete_replacement, drop_drafts, replace_together
from denoisplit.files.folder_lock import output_lock
from denoisplit.files.outputs import check_file, check_new
from denoisplit.images import Files, each_of, read_frames
from denoisplit.images.repeats import read_repeats
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.from_noisy import check_noisy, pairs_of_noisy
from denoisplit.noise_models.goodness_of_fit import Quality, fit_pairs
from denoisplit.noise_models.pairs import Pairs, from_clean, from_exposures, from_repeats
from denoisplit.noise_models.validity import correlation_warning
from denoisplit.progress import Bar, bar, logger
from denoisplit.report.noise_page import noise_page
from denoisplit.version import __version__

PathLike = str | Path
OnStep = Callable[[int, int], None]
Image = npt.NDArray[Any]

ONE_KIND = ("repeats", "clean", "noisy")  # the fourth kind of images is a pair
DENOISER = 92  # per cent of the time of a fit to noisy images alone


@dataclass(frozen=True)
class NoiseModelFit:
    """A fitted noise model, its quality, and the two files that were written."""

    model: GaussianMixture
    quality: Quality
    path: Path
    page: Path

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the weights as plain values."""
        return {
            "denoisplit": __version__,
            "model": str(self.path),
            "page": str(self.page),
            "verdict": self.quality.verdict(),
            "components": self.model.components,
            **self.quality.as_dict(),
        }


@takes_arrays("repeats", "clean", "noisy", "signal", "observed")
@documented(NOISE_MODEL_FIT)
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
    progress: bool = True,
) -> NoiseModelFit:
    """Fit a noise model to images of one of four kinds; write it, and a page that describes it.

    With ``repeats``, a file of several planes is one scene, and all files of one plane together are
    another. With ``noisy``, a checkpoint lies beside the model until it is written; the same call
    continues from it after an interruption.

    Parameters
    ----------
    {options}

    Returns
    -------
    NoiseModelFit

    Raises
    ------
    InputError
        If images or options cannot be used, an output exists, or another process writes it; nothing
        is left half-written.
    """
    kinds = ("repeats", "clean", "noisy", "signal", "observed")
    given = (repeats, clean, noisy, signal, observed)
    files = {kind: each_of(some) for kind, some in zip(kinds, given, strict=True) if some}
    _check_kinds(tuple(files))
    for name, value, needed in (
        ("synthetic_poisson", synthetic_poisson, "clean"),
        ("synthetic_gaussian", synthetic_gaussian, "clean"),
        ("preset", preset, "noisy"),
        ("n2v", n2v, "noisy"),
    ):
        if value and needed not in files:
            raise InputError(f"`{name}` is used with `{needed}` only", remedy="leave it out")
    check_seed(seed)
    settings = _settings(seed, preset, components, noise_model_fit, n2v)
    path = Path(output)
    if path.suffix != ".npz":
        raise InputError(
            where=path,
            found=f"file type {path.suffix!r}",
            expected=".npz, the exchange format",
            remedy="rename the output",
        )
    page, checkpoint = path.with_suffix(".html"), path.with_suffix(".n2v.ckpt")
    pending = path.with_name(f".{path.name}.fitted")  # both files, until they are in their places
    check_file(checkpoint)
    with output_lock(path):
        complete_replacement(pending, obsolete=[checkpoint])  # of a call that was killed
        check_new(path)
        check_new(page)
        for file in (path, page, checkpoint, pending):
            drop_drafts(file)
        pairs, model, quality = _fitted(
            files, settings, synthetic_poisson, synthetic_gaussian, checkpoint
        )
        contents = {
            path.name: model.to_bytes(),
            page.name: noise_page(path.stem, model, quality, pairs).encode(),
        }
        replace_together(pending, contents, obsolete=[checkpoint])
    return NoiseModelFit(model, quality, path, page)


def _fitted(
    files: Mapping[str, Files],
    settings: Settings,
    poisson_factor: float,
    level: float,
    checkpoint: Path,
) -> tuple[Pairs, GaussianMixture, Quality]:
    """Read the images of one kind, and fit a noise model to their pairs."""
    fit, seed = settings.noise_model_fit, settings.seed
    images = {
        kind: read_repeats(some) if kind == "repeats" else read_frames(some).images
        for kind, some in files.items()
    }
    with _files_named(files):
        if "noisy" in images:
            check_noisy(images["noisy"])
            with bar("denoiser", 100) as progress, _resumable(checkpoint):
                pairs = pairs_of_noisy(
                    images["noisy"],
                    settings.n2v,
                    seed=seed,
                    checkpoint=checkpoint,
                    on_step=_part(progress, 0, DENOISER, "denoiser"),
                )
                on_step = _part(progress, DENOISER, 100)
                model, quality = fit_pairs(pairs, fit, seed=seed, on_step=on_step)
        else:
            pairs, about = _pairs(images, poisson_factor, level, seed)
            pairs.check_noise()
            with bar("noise model", 100) as progress:
                on_step = _part(progress, 0, 100)
                model, quality = fit_pairs(pairs, fit, seed=seed, about=about, on_step=on_step)
    warning = correlation_warning(pairs.correlation)
    if warning:
        logger.warning("%s", warning)
    return pairs, model, quality


def _check_kinds(kinds: tuple[str, ...]) -> None:
    """Refuse anything but one kind of images, or the two of a pair."""
    if kinds != ("signal", "observed") and (len(kinds) != 1 or kinds[0] not in ONE_KIND):
        names = ", ".join(f"`{kind}`" for kind in ONE_KIND)
        raise InputError(
            found=" and ".join(f"`{kind}`" for kind in kinds) or "no images",
            expected=f"one of {names}, or `signal` with `observed`",
            remedy="provide images of one kind",
        )


def _settings(
    seed: int,
    preset: Preset | None,
    components: int | None,
    noise_model_fit: Mapping[str, Any] | None,
    n2v: Mapping[str, Any] | None,
) -> Settings:
    """Return the settings of a training, of which those of denoiser and fit are used."""
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


def _pairs(
    images: Mapping[str, Sequence[Image]], poisson_factor: float, level: float, seed: int
) -> tuple[Pairs, dict[str, str | float]]:
    """Pair signals with observations, without a denoiser; return also the noise that was added."""
    if "repeats" in images:
        return from_repeats(stacks=images["repeats"], seed=seed), {}
    if "clean" in images:
        frames = tuple(images["clean"])
        noise = SyntheticNoise(poisson_factor, level * pooled_std((frames,)))
        pairs = from_clean(frames=frames, noise=noise, seed=seed)
        sigma = noise.gaussian_sigma
        return pairs, {"poisson_factor": noise.poisson_factor, "gaussian_sigma": sigma}
    return from_exposures(signal=images["signal"], observed=images["observed"], seed=seed), {}


def _part(progress: Bar, start: int, end: int, description: str = "noise model") -> OnStep:
    """Return a function that shows the steps of one stage as a part of the bar, in per cent."""

    def on_step(done: int, total: int) -> None:
        progress.to(start + (end - start) * done // total, description)

    return on_step


@contextmanager
def _resumable(checkpoint: Path) -> Iterator[None]:
    """Keep the checkpoint if the same command can resume from it."""
    if checkpoint.exists():
        logger.info("%s: resuming the training of the denoiser", checkpoint)
    try:
        yield
    except InputError as error:
        if error.where != str(checkpoint):  # the images are at fault: nothing can be resumed
            checkpoint.unlink(missing_ok=True)
        raise
    except KeyboardInterrupt:
        if checkpoint.exists():
            logger.info("%s: the same command will resume from here", checkpoint)
        raise


@contextmanager
def _files_named(files: Mapping[str, Files]) -> Iterator[None]:
    """Name the files in errors about their pixels."""
    names = [str(file) for some in files.values() for file in each_of(some)]
    shown = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    try:
        yield
    except InputError as error:
        where = f"{error.where} ({shown})" if error.where else shown
        raise error.replace(where=where) from error
