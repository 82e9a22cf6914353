"""Methods of the benchmark: each is trained on a pair, and splits the tiles that are judged on.

All see the same crops in the same order for the same number of steps. Whoever adds a method writes
one function from a `Cell` to a `Split`, and names it in `METHODS`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.common import careamics, peer, peer_likelihood, peer_loss
from benchmarks.recordings import LEVEL, POISSON
from benchmarks.splits.images import PAIRS, read_judged
from denoisplit.config.presets import OPTIMISERS
from denoisplit.config.settings import settings_from
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.statistics import pooled_std
from denoisplit.evaluation.error_bars import COVERAGE
from denoisplit.images import fingerprint, read_frames
from denoisplit.machine.distributed import team
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import ErrorBars, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.training.loaders import loaders
from denoisplit.training.one_network import fit_or_load_network, initial_network
from denoisplit.training.start import start_run, train_run

Array = npt.NDArray[np.float32]

NORMAL_90 = 1.6449  # half width of the interval of a normal distribution, in its std
MULTIPLE = 32  # of the sides of a frame, px: CAREamics' LVAE takes no odd feature maps
RATE, _ = OPTIMISERS["adamax"]  # of the networks of others
SMALL: dict[str, Any] = {  # sizes of a dry run
    "network": {"filters": 8, "latents": 2, "patch": 32},
    "training": {"batch": 2, "min_steps_per_epoch": 1},
    "prediction": {"calibration_samples": 2, "error_map_steps": 2},
}


class Split(NamedTuple):
    """What a method makes of the tiles that are judged on."""

    means: list[Array]  # (C, Y, X) of every tile, raw intensity
    bars: list[ErrorBars] | None  # None for a method without error bars
    training: float  # processor seconds of the network's training
    calibration: float  # of what follows it: calibration, error map, report
    prediction: float  # of the split of all tiles


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a method, a pair and a seed."""

    folder: Path  # of the images
    work: Path  # for files of the method
    pair: str
    seed: int
    preset: str
    steps: int | None
    samples: int
    dry: bool

    @property
    def names(self) -> tuple[str, ...]:
        return PAIRS[self.pair]

    @cached_property
    def settings(self) -> Any:
        structures = [
            {
                "name": name,
                "files": [str(self.folder / f"{name}_train.tif")],
                "noise_model": str(self.folder / f"{name}.npz"),
            }
            for name in self.names
        ]
        values: dict[str, Any] = {**(SMALL if self.dry else {})}
        training = {**values.get("training", {})}
        if self.steps is not None:
            training["max_steps"] = self.steps
        values |= {"structures": structures, "seed": self.seed, "preset": self.preset}
        return settings_from({**values, "training": training})

    def frames(self, kind: str = "") -> list[Any]:
        """Return the tiles to train on of each structure; clean ones for ``"clean_"``."""
        files = [[str(self.folder / f"{name}_{kind}train.tif")] for name in self.names]
        return [read_frames(one) for one in files]

    def data(self, kind: str = "") -> TrainingData:
        return prepare([frames.images for frames in self.frames(kind)], self.settings)

    @cached_property
    def noise_models(self) -> list[GaussianMixture]:
        return [GaussianMixture.load(self.folder / f"{name}.npz") for name in self.names]

    @cached_property
    def judged(self) -> tuple[list[Array], list[Array]]:
        """Superposed tiles (Y, X), and their clean structures (C, Y, X)."""
        pairs = [read_judged(self.folder, name) for name in self.names]
        noisy, clean = (np.stack(images, axis=1) for images in zip(*pairs, strict=True))
        return list(noisy.sum(axis=1)), list(clean)


def ours(cell: Cell) -> Split:
    """Train denoiSplit with a preset, its error map included."""
    frames, data, run = cell.frames(), cell.data(), cell.work / "run"
    prints = {n: fingerprint(f.files) for n, f in zip(cell.names, frames, strict=True)}
    clock = _Clock()
    start_run(run, cell.settings, data, frames, prints, {})
    fit_or_load_network(run, cell.settings, data, cell.noise_models)
    training = clock.lap()
    trained = train_run(run, cell.settings, data)
    calibration = clock.lap()
    sampling = Sampling(samples=cell.samples, seed=cell.seed)
    options = {"tile": trained.tile, "halo": trained.halo, "mapping": trained.mapping(COVERAGE)}
    split = [predict_frame(trained.model, x, sampling, **options) for x in cell.judged[0]]
    bars = [one.bars for one in split if one.bars is not None]
    means = [one.mean for one in split]
    return Split(means, bars or None, training, calibration, clock.lap())


def lvae(cell: Cell) -> Split:
    """Train CAREamics' LVAE by its own loss; its error bar is the spread of its samples."""
    sizes = cell.settings.network
    network = peer(
        sizes.patch, structures=len(cell.names), filters=sizes.filters, latents=sizes.latents
    )
    data = cell.data()
    norm = initial_network(cell.settings, data)
    loss = peer_loss(peer_likelihood(cell.noise_models, norm.target_mean, norm.target_std))
    training = _train(network, cell, data, lambda y, t: loss(y, norm.normalise_targets(t)), None)
    clock = _Clock()
    means, bars = [], []
    for frame in cell.judged[0]:
        padded, crop = _padded(frame)
        network.reset_for_inference(padded.shape[-2:])
        with torch.inference_mode():
            x = norm.normalise(padded)
            draws = torch.stack([norm.to_raw(network(x)[0])[0] for _ in range(cell.samples)])
        mean, std = draws.mean(dim=0).numpy()[crop], draws.std(dim=0).numpy()[crop]
        means.append(mean)
        bars.append(ErrorBars(mean, std, std * np.float32(NORMAL_90)))
    return Split(means, bars, training, 0.0, clock.lap())


def regressor(cell: Cell, *, clean: bool = False) -> Split:
    """Train CAREamics' U-Net by squared error on the noisy targets, or on clean ones as a bound.

    The inputs of the bound are clean crops with fresh noise, which needs images that nobody has.
    """
    filters = cell.settings.network.filters
    network = careamics().UNet(
        2, num_classes=len(cell.names), depth=3, num_channels_init=filters,
        independent_channels=False,
    )  # fmt: skip
    norm = initial_network(cell.settings, cell.data())

    def squared(output: Tensor, targets: Tensor) -> Tensor:
        return (output - norm.normalise_targets(targets)).square().mean()

    sigma = None
    if clean:
        sigma = LEVEL * pooled_std(tuple(tuple(f.images) for f in cell.frames("clean_")))
    training = _train(network, cell, cell.data("clean_" if clean else ""), squared, sigma)
    clock = _Clock()
    means = []
    for frame in cell.judged[0]:
        padded, crop = _padded(frame)
        with torch.inference_mode():
            means.append(norm.to_raw(network(norm.normalise(padded)))[0].numpy()[crop])
    return Split(means, None, training, 0.0, clock.lap())


def bound(cell: Cell) -> Split:
    """Train the regressor on clean targets."""
    return regressor(cell, clean=True)


METHODS: dict[str, Callable[[Cell], Split]] = {
    "denoiSplit": ours,
    "CAREamics LVAE": lvae,
    "U-Net, noisy targets": regressor,
    "U-Net, clean targets": bound,
}


class _Clock:
    """Processor time of this process, all threads."""

    def __init__(self) -> None:
        self.start = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        seconds, self.start = now - self.start, now
        return seconds


def _train(
    network: nn.Module,
    cell: Cell,
    data: TrainingData,
    loss: Callable[[Any, Tensor], Tensor],
    sigma: float | None,
) -> float:
    """Train a network of others with Adamax on our crops; return the processor seconds.

    ``sigma`` adds fresh noise to the inputs.
    """
    clock, settings = _Clock(), cell.settings.training
    norm = initial_network(cell.settings, cell.data())
    batches = loaders(data, cell.noise_models, cell.settings, team())
    sampler: Any = batches.training.sampler
    optimiser = torch.optim.Adamax(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, batches.schedule.steps)
    torch.manual_seed(cell.seed)
    network.train()
    for epoch in range(batches.schedule.epochs):
        sampler.set_epoch(epoch)
        for targets in batches.training:
            noisy = targets
            if sigma is not None:
                shot = torch.poisson(targets.clamp(min=0) / POISSON) * POISSON
                noisy = shot + sigma * torch.randn(targets.shape)
            value = loss(network(norm.normalise(noisy.sum(dim=1, keepdim=True))), targets)
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip or math.inf)
            optimiser.step()
            schedule.step()
    network.eval()
    return clock.lap()


def _padded(frame: Array) -> tuple[Tensor, tuple[slice, ...]]:
    """Return a frame as (1, 1, Y, X) with sides that networks take, and the part that counts."""
    height, width = frame.shape
    more = [(0, -side % MULTIPLE) for side in frame.shape]
    padded = np.pad(frame, more, mode="reflect")
    return torch.from_numpy(padded)[None, None], (slice(None), slice(height), slice(width))
