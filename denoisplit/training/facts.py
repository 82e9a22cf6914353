"""Facts of the training images that a run stores for all later commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import Facts, Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.data.splits import frames_held_out
from denoisplit.data.statistics import content_quantum, noise_std
from denoisplit.images import Frames
from denoisplit.version import __version__

LIBRARIES = ("torch", "lightning", "numpy", "xarray", "tifffile", "safetensors", "pydantic")


def measure_facts(
    settings: Settings,
    data: TrainingData,
    frames: Sequence[Frames],
    fingerprints: Mapping[str, list[dict[str, Any]]],
    truth: Mapping[str, list[dict[str, Any]]],
) -> Facts:
    """Return the facts of a training.

    Parameters
    ----------
    data : TrainingData
        Prepared from these frames.
    frames : sequence of Frames
        Images of each structure.
    fingerprints, truth : mapping
        Fingerprints of the images of each structure, and of their truth if there is one.
    """
    # training frames of unrelated cells may differ in size, so they cannot be superposed
    unrelated = settings.data.pairing == "unrelated"
    inputs = data.inputs(data.validation if unrelated else data.training)
    counts = [len(f.images) for f in frames]
    held_out = frames_held_out(counts, pairing=settings.data.pairing, rule=data.split_rule)
    return Facts(
        gaussian_sigma=data.noise.gaussian_sigma,
        pooled_std=data.pooled_std,
        clip=data.noise.clip,
        **input_facts(inputs),
        frames={split: len(group[0]) for split, group in data.clean._asdict().items()},
        frame_sizes=sorted({image.shape for group in data.clean.training for image in group}),
        held_out=dict(zip(settings.names, held_out, strict=True)),
        pixel_size_um=frames[0].pixel_size_um,
        fingerprints=dict(fingerprints),
        truth=dict(truth),
        libraries={"denoisplit": __version__} | {name: version(name) for name in LIBRARIES},
    )


def input_facts(inputs: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
    """Return the brightness and noise of input frames (Y, X), as fields of `Facts`."""
    means = [float(frame.mean()) for frame in inputs]
    noise = float(np.median([noise_std(frame) for frame in inputs]))
    return {
        "input_frame_mean": (float(np.mean(means)), float(np.std(means))),
        "input_range": (min(float(f.min()) for f in inputs), max(float(f.max()) for f in inputs)),
        "input_noise_std": noise,
        "content_quantum": content_quantum(noise),
    }
