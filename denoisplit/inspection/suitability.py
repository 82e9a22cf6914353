"""Whether an image suits a run: scale, intensities and noise against those of the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from denoisplit.images import LazyImage
from denoisplit.images.lengths import differ
from denoisplit.jobs.alarm import UNLIKE
from denoisplit.jobs.alarm_file import read_alarm
from denoisplit.jobs.inputs import is_unlike_in_brightness
from denoisplit.jobs.tiling import tile_and_halo
from denoisplit.network.inference import inference_form
from denoisplit.prediction.autotune import Form, seconds_per_pixel
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.prediction.tiles import bytes_of_tile
from denoisplit.progress import duration
from denoisplit.run import Run

SAMPLES = 50  # of a usual prediction, whose time is estimated
JUDGED_SIDE = 512  # px, of the part that is split and compared with the training
NOISE_RATIO = 1.5  # of the noise's standard deviation to that of the training, either way


def suitability(run: Run, image: LazyImage, record: Mapping[str, Any]) -> dict[str, Any]:
    """Compare an image of one channel with the training of a run.

    Parameters
    ----------
    run : Run
    image : LazyImage
    record : mapping
        Of the image, see `denoisplit.inspection.images.image_record`.

    Returns
    -------
    dict
        ``problems``, in words, empty for an image that suits the run; the compared values; time
        and memory of a prediction.
    """
    facts, stride = run.config.facts, run.model.stride
    result: dict[str, Any] = {"run": str(run.path), "stride": stride, "problems": []}
    problems: list[str] = result["problems"]
    channels = record["channels"]
    if len(channels) > 1:
        problems.append(f"it has {len(channels)} channels, of which one must be chosen")
        return result
    (channel,) = channels
    sides = image.sizes["y"], image.sizes["x"]
    if min(sides) < stride:
        problems.append(f"its planes are narrower than {stride} px, the stride of the network")
        return result
    result["pixel_size_um"] = {"image": record["pixel_size_um"], "run": facts.pixel_size_um}
    for axis in "xy":
        size, trained = (sizes.get(axis) for sizes in (image.pixel_size_um, facts.pixel_size_um))
        if size and trained and differ(size, trained):
            problems.append(
                f"its pixels are {size:.4g} um along {axis}, those of the training {trained:.4g} um"
            )
    if channel["not_finite"] or channel["noise"] is None:
        problems.append("it has pixels that are NaN or infinite, or all of one value")
        return result
    usual = facts.input_frame_mean[0]
    result["mean"] = {"image": channel["mean"], "run": usual}
    if is_unlike_in_brightness(run, channel["mean"]):
        problems.append(f"its mean is {channel['mean']:.4g}, that of the training {usual:.4g}")
    noise = channel["noise"]["std"]
    result["noise_std"] = {"image": noise, "run": facts.input_noise_std}
    if not 1 / NOISE_RATIO <= noise / max(facts.input_noise_std, 1e-30) <= NOISE_RATIO:
        problems.append(
            f"its noise has std {noise:.3g}, that of the training {facts.input_noise_std:.3g}"
        )
    result["alarm"] = _judged(run, image)
    if result["alarm"] and result["alarm"]["alarm"]:
        what = ", ".join(word for word in result["alarm"]["what"] if word != UNLIKE)
        problems.append("it is unlike the training data" + (f": {what}" if what else ""))
    result["prediction"] = _cost(run, image)
    return result


def _judged(run: Run, image: LazyImage) -> dict[str, Any] | None:
    """Split the middle of the middle plane in one pass, and compare it with the training."""
    alarm = read_alarm(run.path, len(run.names))
    if alarm is None:
        return None
    x = np.asarray(image.middle(JUDGED_SIDE), dtype=np.float32)
    tile, halo = tile_and_halo(run, None, None)
    model = inference_form(run.model)
    decoded = predict_frame(model, x, Sampling(0, 0, True), tile=tile, halo=halo).mean
    return alarm.summary([alarm.judge(x, decoded)])


def _cost(run: Run, image: LazyImage) -> dict[str, Any]:
    """Estimate time, memory and disk space of a prediction with the usual samples."""
    pixels = math.prod(image.sizes.values())
    tile, halo = tile_and_halo(run, None, None)
    if (side := run.model.fixed_patch) is not None:
        tile, halo = side // 2, side // 4
    computed = float(pixels)
    for length in (image.sizes["y"], image.sizes["x"]):
        core = min(tile, length)
        computed *= (core + 2 * min(halo, length)) / core
    seconds = computed * SAMPLES * seconds_per_pixel(run.model, Form())
    memory = bytes_of_tile(run.model, tile, halo)
    device = run.model.input_mean.device.type
    return {
        "samples": SAMPLES,
        "device": device,
        "tile": tile,
        "halo": halo,
        "seconds": float(f"{seconds:.2g}"),
        "memory_bytes": memory,
        "bytes_per_result": 4 * pixels * len(run.names),
    }


def suitability_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the comparison in lines of a name and a text."""
    run, problems = result["run"], result["problems"]
    lines = [f"for {run}: {'; '.join(problems) or 'no difference from the training is found'}"]
    if (cost := result.get("prediction")) is not None:
        seconds = cost["seconds"]
        time = duration(seconds) if seconds > 60 else f"{max(seconds, 1):.0f} s"
        lines.append(
            f"prediction: about {time} with {cost['samples']} samples on {cost['device']}, "
            f"in tiles of {cost['tile']} px with a halo of {cost['halo']} px"
        )
    return lines
