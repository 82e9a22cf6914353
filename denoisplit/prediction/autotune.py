"""How prediction runs the network on this machine: precision and compilation, by a measurement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

from denoisplit.errors import InputError
from denoisplit.network import VSE, ContextVSE
from denoisplit.network.inference import compile_blocks, inference_form
from denoisplit.progress import logger

Precision = Literal["32", "bf16"]
Compilation = Literal["auto", "on", "off"]

SIDE = 256  # px, of what is measured
FEW = 4e6  # pixels times samples: less is not worth a measurement
PAYS_AFTER = 60.0  # s of work: compilation takes 5 to 30 s, and saves a fifth to a half
NAMES = {"32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Form:
    """How a network is run."""

    precision: Precision = "32"
    compiled: bool = False

    def __str__(self) -> str:
        return NAMES[self.precision] + (", compiled" if self.compiled else "")

    def of(self, model: VSE) -> VSE:
        """The network in this form; it is used like the one that it is made of."""
        fast = inference_form(model, torch.float32 if self.precision == "32" else torch.bfloat16)
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
    """The fastest form of those allowed; what was measured is told in the log.

    Parameters
    ----------
    model : VSE
        In evaluation mode, on its device.
    precision : {"32", "bf16"}
        bf16 allows bfloat16, and takes it where it is faster.
    compilation : {"auto", "on", "off"}
        auto: where it is faster and there is enough to do.
    work : float
        Pixels times samples of all that is to be predicted.
    only : {"32", "bf16"}, optional
        The one that was chosen before, of the same work.

    Raises
    ------
    InputError
        If compilation is demanded and there is no compiler.
    """
    precisions: tuple[Precision, ...] = ("32",) if precision == "32" else ("32", "bf16")
    if only is not None:
        precisions = (only,)
    if len(precisions) == 1 and compilation != "on" and (compilation == "off" or work < FEW):
        return Form(precisions[0])
    seconds: dict[Form, float] = {}
    if compilation != "on":
        seconds = {form: _measured(model, form) for form in map(Form, precisions)}
    if compilation == "off" or (seconds and work * min(seconds.values()) < PAYS_AFTER):
        return _told(seconds)
    try:
        for form in [Form(p, compiled=True) for p in precisions]:
            seconds[form] = _measured(model, form)
    except RuntimeError as error:  # no compiler for this device, or none that works
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if compilation == "on":
            raise InputError(
                where="--compile",
                found=f"a compilation that failed ({reason})",
                expected="a C++ compiler, for a GPU also Triton",
                remedy="install one, or leave it out",
            ) from None
        logger.info("not compiled: %s", reason)
    return _told(seconds)


def _told(seconds: dict[Form, float]) -> Form:
    chosen = min(seconds, key=lambda form: seconds[form])
    logger.info(
        "measured: %s (seconds per sample of 1000 x 1000 px: %s)",
        chosen,
        "; ".join(f"{form} {1e6 * value:.2f}" for form, value in seconds.items()),
    )
    return chosen


@torch.inference_mode()
def _measured(model: VSE, form: Form) -> float:
    """Seconds per pixel and sample, of a pair of samples after a first one."""
    fast = form.of(model)
    device = model.input_mean.device
    side = model.patch if isinstance(model, ContextVSE) else -(-SIDE // model.stride) * model.stride
    planes = model.planes if isinstance(model, ContextVSE) else 1
    *features, top = fast.encode(torch.zeros(1, planes, side, side, device=device))
    features = [f.expand(2, -1, -1, -1) for f in features]
    eps = [torch.zeros(2, *shape, device=device) for shape in model.latent_shapes(side, side)]
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        # read back: a GPU works on while the CPU looks at the clock
        float(fast.decode([*features, top], eps)[0, 0, 0, 0])
        taken.append(time.perf_counter() - start)
    return min(taken[1:]) / (2 * side * side)
