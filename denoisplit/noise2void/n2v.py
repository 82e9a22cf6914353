"""Noise2Void (Krull et al. 2019): a denoiser trained on noisy frames alone.

A pixel is hidden behind one of its neighbours and predicted from its surroundings. Noise that is
independent from pixel to pixel cannot be predicted, so the expected signal is what is learnt.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from denoisplit.config.settings import N2VSettings
from denoisplit.data.patches import RandomCrops
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.files.tensors import read_checkpoint
from denoisplit.images.tiling import tile_frame
from denoisplit.machine.device import default_device
from denoisplit.noise2void.frames import (
    Frame,
    Mask,
    check_frames,
    check_plane,
    digest,
    hold_out,
    moments,
)
from denoisplit.noise2void.masking import Batch, masked_batch
from denoisplit.noise2void.unet import UNet

Array = npt.NDArray[np.float32]

TILE = 256  # side of a tile's core, px
CHECKPOINT_EVERY = 100  # steps
TRAINING, VALIDATION = 101, 102  # uses of randomness


class N2V(nn.Module):
    """A trained denoiser: its U-Net, and the statistics of the frames that it was trained on.

    Parameters
    ----------
    filters, depth : int
        Sizes of the `UNet`.
    """

    mean: Tensor  # (), raw units
    std: Tensor  # (), raw units

    def __init__(self, filters: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.unet = UNet(filters, depth)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, raw: Tensor) -> Tensor:
        """Noisy (B, 1, Y, X) to denoised, raw units; sides are multiples of the total stride."""
        out: Tensor = self.unet((raw - self.mean) / self.std) * self.std + self.mean
        return out

    @property
    def margin(self) -> int:
        """Of a tile: what the network sees around its core, px, on the total stride."""
        return -(-self.unet.radius // self.unet.stride) * self.unet.stride

    @torch.inference_mode()
    def denoise(self, frame: Frame, *, tile: int = TILE) -> Array:
        """Denoise one frame.

        Parameters
        ----------
        frame : array (Y, X)
            Noisy, raw units, of any size. Outside it is reflected, as often as needed.
        tile : int
            Side of a tile's core to aim at, px. Tiles start on the total stride and see all that
            the network can see, so the result does not depend on it.

        Returns
        -------
        array (Y, X), float32
            Raw units.

        Raises
        ------
        InputError
            If the frame is no plane, is empty or has pixels that are not finite.
        """
        check_plane(frame, "frame to denoise")
        stride, margin = self.unet.stride, self.margin
        beyond = [(margin, margin + (-side) % stride) for side in frame.shape]
        padded = np.pad(frame.astype(np.float32), beyond, mode="reflect")
        out = np.empty(frame.shape, dtype=np.float32)
        device = self.mean.device
        for y, x, height, width in tile_frame(*frame.shape, tile=tile, stride=stride):
            rows, columns = (-(-side // stride) * stride + 2 * margin for side in (height, width))
            patch = np.ascontiguousarray(padded[y : y + rows, x : x + columns])
            seen = self(torch.from_numpy(patch).to(device)[None, None])[0, 0]
            core = seen[margin : margin + height, margin : margin + width]
            out[y : y + height, x : x + width] = core.cpu().numpy()
        return out


def masked_error(model: N2V, batch: Batch) -> Tensor:
    """Sum of squared errors at the hidden pixels, in units of the training frames' std."""
    device = model.mean.device
    output = model(batch.images.to(device))
    i, y, x = (index.to(device) for index in batch.where)
    error: Tensor = ((output[i, 0, y, x] - batch.targets.to(device)) / model.std) ** 2
    return error.sum()


def train_n2v(
    frames: Sequence[Frame],
    settings: N2VSettings,
    *,
    seed: int,
    valid: Sequence[Mask] | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> N2V:
    """Train a denoiser on noisy frames of one structure.

    Adam on the mean squared error of hidden pixels. With ``settings.max_steps`` the learning rate
    falls to zero along a cosine; without, epochs end with the error of a held-out tenth, and the
    rate is halved where that no longer falls.

    Parameters
    ----------
    frames : sequence of array (Y, X)
        Raw units; each at least a patch in size.
    settings : N2VSettings
    seed : int
        Weights, crops, flips and hidden pixels depend on it and on the step only.
    valid : sequence of bool array (Y, X), optional
        False where a pixel says nothing of the signal's mean, as saturated ones do: it is seen,
        but never predicted.
    checkpoint : Path, optional
        File that is written every `CHECKPOINT_EVERY` steps and at the end. Where it exists, the
        training goes on from it, on a CPU to the very weights of the uninterrupted one.
    on_step : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    N2V
        In evaluation mode, on the device that it was trained on.

    Raises
    ------
    InputError
        If frames cannot be trained on, or the checkpoint is unreadable or of another training.
    """
    check_frames(frames, valid, settings.patch)
    training = _Training(frames, valid, settings, seed)
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    while training.step < training.steps:
        training.advance()
        done = training.step
        if checkpoint is not None and (done % CHECKPOINT_EVERY == 0 or done == training.steps):
            training.save(checkpoint)
        if on_step is not None:
            on_step(done, training.steps)
    model = training.model
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as in files
    return model.eval()


class _Training:
    """Model, optimiser, data and step of one training; all that a checkpoint has to hold."""

    def __init__(
        self,
        frames: Sequence[Frame],
        valid: Sequence[Mask] | None,
        settings: N2VSettings,
        seed: int,
    ) -> None:
        self.settings = settings
        self.step = 0
        self.identity = {
            "settings": settings.model_dump(),
            "seed": seed,
            "data": digest([*frames, *(valid or ())]),
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = N2V(settings.filters, settings.depth)
        mean, std = moments(frames, valid)
        self.model.mean.fill_(mean)
        self.model.std.fill_(std)
        # a quarter less time on CPU
        self.model.to(default_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=0.5, patience=settings.plateau_patience
        )
        groups = [frames] if valid is None else [frames, valid]
        held: list[Sequence[Frame]] = []
        if settings.max_steps is None:
            parts = [hold_out(group, settings.patch) for group in groups]
            groups, held = [p[0] for p in parts], [p[1] for p in parts]
        self.crops = self._crops(groups, seed)
        self.held = self._crops(held, seed) if held else None
        per_epoch = -(-self.crops.per_epoch // settings.batch)
        self.per_epoch = min(per_epoch, settings.max_steps_per_epoch)
        self.steps = settings.max_steps or settings.max_epochs * self.per_epoch

    def _crops(self, groups: Sequence[Sequence[Frame]], seed: int) -> RandomCrops:
        return RandomCrops(
            tuple(tuple(group) for group in groups),
            patch=self.settings.patch,
            seed=seed,
            independent=False,
            augment=True,
            candidates=self.settings.crop_candidates,
        )

    def advance(self) -> None:
        """One step; at the end of an epoch, the plateau schedule."""
        settings = self.settings
        if settings.max_steps is not None:
            rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
        first = self.step * settings.batch
        numbers = range(first, first + settings.batch)
        batch = masked_batch(self.crops, numbers, settings, use=TRAINING)
        loss = masked_error(self.model, batch) / max(1, len(batch.targets))
        if not torch.isfinite(loss):
            raise InputError(
                where="N2V training",
                found=f"a loss of {loss.item()} in step {self.step}",
                expected="a finite one",
                remedy="check the images for extreme values, or set a lower n2v.learning_rate",
            )
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        if self.held is not None and self.step % self.per_epoch == 0:
            self.plateau.step(self.validate(self.held))

    @torch.no_grad()
    def validate(self, held: RandomCrops) -> float:
        """Mean squared error of the same hidden pixels of the held-out part after every epoch."""
        batch = self.settings.batch
        total, count = 0.0, 0
        for first in range(0, min(held.per_epoch, self.per_epoch * batch), batch):
            numbers = range(first, first + batch)
            hidden = masked_batch(held, numbers, self.settings, use=VALIDATION)
            total += masked_error(self.model, hidden).item()
            count += len(hidden.targets)
        return total / max(1, count)

    def save(self, path: Path) -> None:
        """Plain values and tensors, so that it is read without executing anything."""
        content = io.BytesIO()
        plateau = {k: v for k, v in self.plateau.state_dict().items() if not callable(v)}
        state = {
            "identity": self.identity,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": plateau,
        }
        torch.save(state, content)
        write_bytes(path, content.getvalue())

    def load(self, path: Path) -> None:
        """The counterpart of `save`."""
        state = read_checkpoint(path)
        if state.get("identity") != self.identity:
            raise InputError(
                where=path,
                found="the checkpoint of another training",
                expected="one of the same frames, settings and seed",
                remedy="remove it to start anew",
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.plateau.load_state_dict(state["plateau"])
        self.step = state["step"]
