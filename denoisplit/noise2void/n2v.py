"""Noise2Void (Krull et al. 2019): a denoiser trained on noisy frames alone.

A pixel is replaced by one of its neighbours and predicted from its surroundings. Noise that is
independent between pixels cannot be predicted, so the network learns the expected signal.
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

from denoisplit.config.groups import N2VSettings
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
    patch_side,
)
from denoisplit.noise2void.masking import NEIGHBOURHOOD, Batch, masked_batch
from denoisplit.noise2void.unet import DEPTH, RADIUS, STRIDE, UNet

Array = npt.NDArray[np.float32]

CORE = 256  # side of a tile's core, px
MARGIN = -(-RADIUS // STRIDE) * STRIDE  # context around a core, px: the receptive field
PLATEAU_PATIENCE = 10  # epochs without improvement before the learning rate is halved
CHECKPOINT_EVERY = 100  # steps
TRAINING, VALIDATION = 101, 102  # separate their random numbers


class N2V(nn.Module):
    """Denoising `UNet` with the statistics of the frames that it was trained on."""

    mean: Tensor  # (), raw units
    std: Tensor  # (), raw units

    def __init__(self, filters: int = 32) -> None:
        super().__init__()
        self.unet = UNet(filters)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, raw: Tensor) -> Tensor:
        """Denoise (B, 1, Y, X), raw units; Y and X must be multiples of `STRIDE`."""
        out: Tensor = self.unet((raw - self.mean) / self.std) * self.std + self.mean
        return out

    @torch.inference_mode()
    def denoise(self, frame: Frame, *, tile: int = CORE) -> Array:
        """Denoise one frame (Y, X) of any size, raw units; it is reflected at its borders.

        The core of a tile has a side of about ``tile`` px. Tiles are aligned to the stride and
        include the receptive field around their core, so the result does not depend on their size.

        Raises
        ------
        InputError
            If the frame is not a plane, is empty or has pixels that are not finite.
        """
        check_plane(frame, "frame to denoise")
        padding = [(MARGIN, MARGIN + (-side) % STRIDE) for side in frame.shape]
        padded = np.pad(frame.astype(np.float32), padding, mode="reflect")
        out = np.empty(frame.shape, dtype=np.float32)
        device = self.mean.device
        for y, x, height, width in tile_frame(*frame.shape, tile=tile, stride=STRIDE):
            rows, columns = (-(-side // STRIDE) * STRIDE + 2 * MARGIN for side in (height, width))
            patch = np.ascontiguousarray(padded[y : y + rows, x : x + columns])
            denoised = self(torch.from_numpy(patch).to(device)[None, None])[0, 0]
            core = denoised[MARGIN : MARGIN + height, MARGIN : MARGIN + width]
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

    Adam minimises the mean squared error at hidden pixels. With ``settings.max_steps`` the learning
    rate follows a cosine down to zero. Without, training runs in epochs, and the rate is halved
    when the error on a held-out tenth stops to improve.

    Parameters
    ----------
    frames : sequence of array (Y, X)
        Raw units.
    seed : int
        Determines initial weights and, with the step, crops, flips and hidden pixels.
    valid : sequence of bool array (Y, X), optional
        False at pixels that carry no information on the mean signal, such as saturated ones: they
        are part of the input, but never predicted.
    checkpoint : Path, optional
        File that is written every `CHECKPOINT_EVERY` steps and at the end. If it exists, training
        resumes from it; on a CPU the weights are those of an uninterrupted training.
    on_step : callable, optional
        Called with (steps done, total steps).

    Returns
    -------
    N2V
        In evaluation mode, on the device that it was trained on.

    Raises
    ------
    InputError
        If frames cannot be trained on, or the checkpoint is unreadable or of another training.
    """
    check_frames(frames, valid)
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
    """Model, optimiser, data and step of one training: the content of a checkpoint."""

    def __init__(
        self,
        frames: Sequence[Frame],
        valid: Sequence[Mask] | None,
        settings: N2VSettings,
        seed: int,
    ) -> None:
        self.settings = settings
        self.patch = patch_side(frames)
        self.step = 0
        constants = {
            "depth": DEPTH,
            "patch": self.patch,
            "neighbourhood": NEIGHBOURHOOD,
            "plateau_patience": PLATEAU_PATIENCE,
        }
        self.identity = {
            "settings": settings.model_dump() | constants,
            "seed": seed,
            "data": digest([*frames, *(valid or ())]),
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = N2V(settings.filters)
        mean, std = moments(frames, valid)
        self.model.mean.fill_(mean)
        self.model.std.fill_(std)
        # channels last saves a quarter of the time on a CPU
        self.model.to(default_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=0.5, patience=PLATEAU_PATIENCE
        )
        groups = [frames] if valid is None else [frames, valid]
        held: list[Sequence[Frame]] = []
        if settings.max_steps is None:
            parts = [hold_out(group, self.patch) for group in groups]
            groups, held = [p[0] for p in parts], [p[1] for p in parts]
        self.crops = self._crops(groups, seed)
        self.held = self._crops(held, seed) if held else None
        per_epoch = -(-self.crops.per_epoch // settings.batch)
        self.per_epoch = min(per_epoch, settings.max_steps_per_epoch)
        self.steps = settings.max_steps or settings.max_epochs * self.per_epoch

    def _crops(self, groups: Sequence[Sequence[Frame]], seed: int) -> RandomCrops:
        return RandomCrops(
            tuple(tuple(group) for group in groups),
            patch=self.patch,
            seed=seed,
            independent=False,
            augment=True,
            candidates=self.settings.crop_candidates,
        )

    def _batch(self, crops: RandomCrops, first: int, use: int) -> Batch:
        numbers = range(first, first + self.settings.batch)
        return masked_batch(crops, numbers, masked=self.settings.masked, use=use)

    def advance(self) -> None:
        """Take one step, and at the end of an epoch one of the plateau schedule."""
        settings = self.settings
        if settings.max_steps is not None:
            rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
        batch = self._batch(self.crops, self.step * settings.batch, TRAINING)
        loss = masked_error(self.model, batch) / max(1, len(batch.targets))
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {loss.item()} in step {self.step}",
                where="Noise2Void training",
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
        """Mean squared error of the held-out part; every epoch hides the same pixels."""
        size = self.settings.batch
        total, count = 0.0, 0
        for first in range(0, min(held.per_epoch, self.per_epoch * size), size):
            batch = self._batch(held, first, VALIDATION)
            total += masked_error(self.model, batch).item()
            count += len(batch.targets)
        return total / max(1, count)

    def save(self, path: Path) -> None:
        """Write a checkpoint of plain values and tensors, which is read without executing code."""
        content = io.BytesIO()
        state = {
            "identity": self.identity,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": {k: v for k, v in self.plateau.state_dict().items() if not callable(v)},
        }
        torch.save(state, content)
        write_bytes(path, content.getvalue())

    def load(self, path: Path) -> None:
        """Restore a checkpoint that `save` wrote."""
        state = read_checkpoint(path, weights="model")
        if state.get("identity") != self.identity:
            raise InputError(
                "the checkpoint belongs to a training with other frames, settings or seed",
                where=path,
                remedy="remove it to start anew",
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.plateau.load_state_dict(state["plateau"])
        self.step = state["step"]
