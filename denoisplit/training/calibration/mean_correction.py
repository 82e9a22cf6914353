"""Training of the correction that moves decoded means to the mean of posterior samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from denoisplit.evaluation.held_out import Parts
from denoisplit.evaluation.judge import Judge, decoded_means
from denoisplit.network.inference import inference_form
from denoisplit.network.mean_correction import MeanCorrection
from denoisplit.prediction.frame import predict_frame
from denoisplit.progress import bar, logger
from denoisplit.training.calibration.error_map import fit_on_crops

Array = npt.NDArray[np.float32]

SIDE = 256  # px, of the parts of frames that samples are drawn of
TRAINED, COMPARED = 16, 4  # parts of training frames, and of validation frames to check on
SAMPLING, FITTING = "sampling decoded means", "correcting decoded means"  # names of bars
SAMPLES = 4  # whose mean is learned


def fit_mean_correction(judge: Judge, parts: Parts, *, steps: int) -> MeanCorrection | None:
    """Fit a correction of decoded means to the means of samples of training frames.

    It is kept if it brings the decoded means of validation frames nearer to the means of their
    samples, in every structure. Neither noise models nor a truth are needed.

    Parameters
    ----------
    judge : Judge
        Of a network without a correction.
    parts : Parts
        Validation frames are fitted to where training frames cannot be superposed.
    steps : int
        Of the training.

    Returns
    -------
    MeanCorrection or None
        On the CPU, ready to use; None if decoded means are better as they are.
    """
    model = judge.model
    random = np.random.default_rng((judge.seed, 2))
    frames = (parts.training or parts.validation).inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(judge.seed)
        correction = MeanCorrection(model.structures)
    planes = _planes(judge, _parts_of(frames, TRAINED, random))
    held_out = _planes(judge, _parts_of(parts.validation.inputs, COMPARED, random))

    def loss(x: Tensor, means: Tensor, difference: Tensor) -> Tensor:
        return nn.functional.mse_loss(correction(x, means), difference)

    fit_on_crops(correction, planes, loss, FITTING, seed=judge.seed, steps=steps)
    correction.eval().requires_grad_(False)
    before, after = np.zeros(model.structures), np.zeros(model.structures)
    for x, means, difference in held_out:
        learned = correction(torch.from_numpy(x)[None], torch.from_numpy(means)[None])[0].numpy()
        before += (difference**2).sum(axis=(1, 2))
        after += ((difference - learned) ** 2).sum(axis=(1, 2))
    if not (after < before).all():
        logger.info("decoded means (of 0 samples) are not corrected, which would not improve them")
        return None
    return correction


def _parts_of(frames: Sequence[Array], number: int, random: np.random.Generator) -> list[Array]:
    """Cut squares of at most `SIDE` px out of frames, at most as many as cover the frames."""
    several = [math.prod(-(-n // SIDE) for n in x.shape) for x in frames]
    parts = []
    for j in random.permutation(np.repeat(np.arange(len(frames)), several))[:number]:
        y, x = (int(random.integers(max(0, n - SIDE) + 1)) for n in frames[j].shape)
        parts.append(np.ascontiguousarray(frames[j][y : y + SIDE, x : x + SIDE]))
    return parts


def _planes(judge: Judge, parts: Sequence[Array]) -> list[tuple[Array, Array, Array]]:
    """Return input (1, Y, X), decoded means and their difference to means of samples (C, Y, X).

    All are in normalised units.
    """
    model, planes = judge.model, []
    inputs, decoded = decoded_means(judge, parts, "decoding means")
    fast, sampling = inference_form(model), judge.sampling(SAMPLES)
    scale = model.target_std.cpu().numpy()[:, None, None]
    offset = model.target_mean.cpu().numpy()[:, None, None]
    with bar(SAMPLING, len(parts)) as progress:
        for number, (part, x, means) in enumerate(zip(parts, inputs, decoded, strict=True), 1):
            mean = predict_frame(fast, part, sampling, tile=judge.tile, halo=judge.halo).mean
            seen = (x[None] - model.input_mean.item()) / model.input_std.item()
            planes.append((seen, (means - offset) / scale, (mean - means) / scale))
            progress.to(number)
    return planes
