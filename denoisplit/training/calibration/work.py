"""Work of a calibration, by which its bars and the time left are estimated, and its tiles."""

from __future__ import annotations

import math

from denoisplit.config.settings import Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.data.splits import Group
from denoisplit.evaluation.held_out import MOST_PIXELS
from denoisplit.network.vse import VSE
from denoisplit.prediction.tiles import BORDER, tile_side
from denoisplit.training.calibration import alarm, error_map, mean_correction

BAR = "calibration and evaluation"
# times for a pixel, in that of a pixel in a step of the training; measured on a CPU
DECODED, SAMPLED = 0.44, 0.28
FITTED = 0.08  # of error map and correction, beside a network of `FILTERS`
FILTERS = 32
LARGE = 512**2  # pixels of a frame, from which on feature maps take most of the memory
FEATURE_MAPS = 640 * 10**6  # bytes for those of a tile of a large frame, on a CPU


def calibration_work(model: VSE, settings: Settings, data: TrainingData) -> dict[str, float]:
    """Estimate the work of each bar of a calibration, in pixels of a training step.

    Parameters
    ----------
    model : VSE
    settings : Settings
        Of the run.
    data : TrainingData
        Of the run.
    """
    options, structures = settings.prediction, len(settings.names)
    training, validation, test = (
        _pixels(group, model) for group in (data.training, data.validation, data.test)
    )
    samples = SAMPLED * options.calibration_samples
    work = {"calibrating": samples * validation, "evaluating": samples * test}
    if not options.error_map:
        return work
    fit = FITTED * (FILTERS / settings.network.filters) ** 2 * error_map.CROPS * error_map.SIDE**2
    fit *= options.error_map_steps
    known = min(training, MOST_PIXELS) * data.can_superpose_training + validation
    part = mean_correction.SIDE**2 * (DECODED + SAMPLED * mean_correction.SAMPLES)
    changed = min(alarm.MOST_FRAMES * alarm.CROP**2, known) * (2 + 2 * structures)
    return {
        mean_correction.SAMPLING: mean_correction.TRAINED * part,
        mean_correction.FITTING: fit,
        "decoding": DECODED * known,
        "error map": fit,
        **({} if data.has_truth else {"probing": DECODED * known, "intervals": DECODED * known}),
        "fitting the alarm": DECODED * changed,
    } | work


def _pixels(group: Group, model: VSE) -> float:
    """Return the pixels of the frames of a split, with their share of tiles that overlap."""
    if not model.supports_tiling:  # the middle half of each patch is kept
        return 4.0 * sum(frame.size for frame in group[0])
    return float(sum(math.prod(n + 2 * BORDER for n in frame.shape) for frame in group[0]))


def has_large_frames(data: TrainingData) -> bool:
    """Return whether feature maps of whole frames would take most of the memory."""
    return max(image.size for images in data.validation_images for image in images) > LARGE


def calibration_tile(model: VSE, settings: Settings, data: TrainingData, halo: int) -> int:
    """Return the side of a tile's core, px: that of the settings, or what suits the memory.

    On a CPU, calibrations of large frames should take no more than the training.
    """
    if settings.prediction.tile is not None:
        return settings.prediction.tile
    side = tile_side(model, halo)
    if has_large_frames(data) and model.input_mean.device.type == "cpu":
        side = min(side, tile_side(model, halo, memory=FEATURE_MAPS))
    return side
