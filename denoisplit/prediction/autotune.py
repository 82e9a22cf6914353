"""Choice of precision and compilation for prediction on this machine, by measurement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

from denoisplit.errors import InputError, reason_of
from denoisplit.network.inference import compile_blocks, inference_form
from denoisplit.network.vse import VSE
from denoisplit.progress import LONG, duration, logger

Precision = Literal["32", "bf16"]
Compilation = Literal["auto", "on", "off"]

MEASURED_SIDE = 256  # px, of the image that is measured
QUICK_SIDE = 64  # px, for little work, of which measuring would take longer than it could save
WORTH_MEASURING = 4e6  # pixels times samples; with less work compilation is not considered
PAYS_AFTER = 60.0  # s of work: compilation takes 5 to 30 s, and saves a fifth to a half
NAMES = {"32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Form:
    """Precision and compilation of a network in prediction."""

    precision: Precision = "32"
    compiled: bool = False

    def __str__(self) -> str:
        return NAMES[self.precision] + (", compiled" if self.compiled else "")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return torch.float32 if self.precision == "32" else torch.bfloat16

    def apply(self, model: VSE) -> VSE:
        """Return a copy of a network in this form; it is used like the network itself."""
        fast = inference_form(model, self.dtype)
        if self.compiled:
            compile_blocks(fast)
        return fast


def fastest(
    model: VSE,
    precision: Precision,
    compilation: Compilation,
    work: float,
    *,
    only: Precision | None = None,
) -> Form:
    """Measure the allowed forms and return the fastest; the log has the measurements.

    Parameters
    ----------
    model : VSE
        In evaluation mode, on its device.
    precision : {"32", "bf16"}
        bf16 allows bfloat16, which is chosen where it is faster.
    compilation : {"auto", "on", "off"}
        auto compiles where this is faster and there is enough work.
    work : float
        Pixels times samples of the whole prediction.
    only : {"32", "bf16"}, optional
        Precision of the part of this work that is done already.

    Raises
    ------
    InputError
        If compilation is "on" and fails.
    """
    precisions: tuple[Precision, ...] = ("32",) if precision == "32" else ("32", "bf16")
    if only is not None:
        precisions = (only,)
    measure = len(precisions) > 1 or (compilation == "auto" and work >= WORTH_MEASURING)
    if compilation != "on" and not measure:
        return Form(precisions[0])
    seconds: dict[Form, float] = {}
    if compilation != "on":
        side = MEASURED_SIDE if work >= WORTH_MEASURING else QUICK_SIDE
        seconds = {form: seconds_per_pixel(model, form, side) for form in map(Form, precisions)}
    if compilation == "on" or (
        compilation == "auto" and work * min(seconds.values()) >= PAYS_AFTER
    ):
        try:
            for form in [Form(p, compiled=True) for p in precisions]:
                seconds[form] = seconds_per_pixel(model, form)
        except RuntimeError as error:  # no compiler for this device, or none that works
            reason = reason_of(error)
            if compilation == "on":
                raise InputError(
                    f"`compile` failed ({reason})",
                    remedy="install a C++ compiler, for a GPU also Triton, or predict without it",
                ) from None
            logger.info("not compiled: %s", reason)
    chosen = min(seconds, key=lambda form: seconds[form])
    logger.info(
        "measured: %s (seconds per sample of 1000 x 1000 px: %s)",
        chosen,
        "; ".join(f"{form} {1e6 * value:.2f}" for form, value in seconds.items()),
    )
    if (total := work * seconds[chosen]) > LONG:
        logger.info("the prediction takes about %s, without the margins of tiles", duration(total))
    return chosen


@torch.inference_mode()
def seconds_per_pixel(model: VSE, form: Form, side: int = MEASURED_SIDE) -> float:
    """Measure the seconds per pixel and sample; the first pair of samples warms up.

    ``side`` is that of the image, px, rounded up to the total stride.
    """
    fast = form.apply(model)
    device = model.input_mean.device
    side = model.fixed_patch or -(-side // model.stride) * model.stride
    image = torch.zeros(1, model.input_planes, side, side, device=device)
    *features, top = fast.encode(image)
    features = [f.expand(2, -1, -1, -1) for f in features]
    eps = [torch.zeros(2, *shape, device=device) for shape in model.latent_shapes(side, side)]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        # reading a value waits for the GPU
        float(fast.decode([*features, top], eps)[0, 0, 0, 0])
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]) / (2 * side * side)
