"""Checks of `gpu.py`: a GPU gives what the CPU gives."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from common import table
from denoisplit_zoo.exporting.graph import MeanAndStd
from denoisplit_zoo.exporting.weights import onnx, state_dict, torchscript
from training_step import SIZES, new_task, noise_model, step

from denoisplit.network.addressed_noise import (
    addressed_noise,
    content_keys,
    normal_table,
    position_keys,
)
from denoisplit.network.vse import VSE
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling

Array = npt.NDArray[np.float32]

HALO = 64  # px
STEPS = 5  # of the trainings that are compared
ALLOWED = 1e-3  # of the range of a sample, between devices in float32 without TF32


@dataclass(frozen=True)
class Bench:
    """A device, and sizes that suit it."""

    device: str
    dry: bool

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def presets(self) -> dict[str, dict[str, int]]:
        dry = {"filters": 8, "latents": 4, "patch": 32}
        return {name: dry if self.dry else sizes for name, sizes in SIZES.items()}

    @property
    def forms(self) -> list[tuple[Form, bool]]:
        """Forms of a network, and whether TF32 is allowed; a dry run compiles nothing."""
        forms = [(Form(), False), (Form(), True), (Form("bf16"), True)]
        return forms if self.dry else [*forms, (Form("bf16", compiled=True), True)]

    def network(self, preset: str = "small") -> VSE:
        """Return a network of two structures, on the CPU."""
        torch.manual_seed(0)
        return VSE(2, **self.presets[preset]).eval()

    def targets(self, batch: int, patch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        images = 400 + 150 * torch.randn(batch, 2, patch, patch, generator=generator)
        return images.to(self.device)

    def frame(self, side: int) -> Array:
        return np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32, a float32 of 10 bits of precision, in convolutions and matrix products."""
    backends = cast(Any, (torch.backends.cudnn, torch.backends.cuda.matmul))
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def name_of(form: Form, fast: bool) -> str:
    return str(form).replace("float32", "TF32") if fast and form.precision == "32" else str(form)


def noise_is_that_of_the_cpu(bench: Bench) -> str:
    """Compare addressed noise, bit by bit."""
    raw = 100 * torch.rand(2, 64, 96, generator=torch.Generator().manual_seed(0))
    equal = {}
    for name in ("position", "content"):
        noise = []
        for device in ("cpu", bench.device):
            keys = [position_keys(i, 3, 5, 64 >> (i + 1), 96 >> (i + 1)) for i in range(4)]
            if name == "content":
                keys = [key[0] for key in content_keys(raw.to(device), levels=4, quantum=0.5)]
            keys = [key.to(device) for key in keys]
            noise.append(
                addressed_noise(
                    keys, range(4), seed=7, channels=8, antithetic=True, table=normal_table()
                )
            )
        equal[name] = all(torch.equal(a, b.cpu()) for a, b in zip(*noise, strict=True))
    return table(["address", "equal to the bit"], [[n, _word(e)] for n, e in equal.items()])


def samples_are_those_of_the_cpu(bench: Bench) -> str:
    """Compare the first posterior sample in every form, as a share of its range."""
    frame, sampling = bench.frame(64 if bench.dry else 512), Sampling(2, keep=1)
    model = bench.network()
    expected = predict_frame(model, frame, sampling).samples
    model.to(bench.device)
    rows = []
    for form, fast in bench.forms:
        with tf32(fast):
            actual = predict_frame(form.apply(model), frame, sampling).samples
        share = float(np.abs(actual - expected).max() / np.ptp(expected))
        strict = not fast and form.precision == "32"
        verdict = _word(share <= ALLOWED) if strict else ""
        rows.append([name_of(form, fast), f"{share:.1e}", verdict])
    return table(["form", "largest difference, of the range", f"at most {ALLOWED:g}"], rows)


def packages_run(bench: Bench) -> str:
    """Compare the weight formats of a package with its graph on the CPU."""
    graph = MeanAndStd(
        samples=2, seed=0, antithetic=True, quantum=1.0, structures=2, **bench.presets["small"]
    ).eval()
    image = torch.from_numpy(bench.frame(64 if bench.dry else 256))[None, None]
    with torch.inference_mode():
        expected = graph(image).numpy()
    provider = "CUDAExecutionProvider" if bench.gpu else "CPUExecutionProvider"
    outputs: dict[str, Any] = {}
    with torch.inference_mode(), tf32(False), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        script = torch.jit.load(io.BytesIO(torchscript(graph)), map_location=bench.device)
        outputs["TorchScript"] = script(image.to(bench.device)).cpu().numpy()
        weights = torch.load(io.BytesIO(state_dict(graph)), weights_only=True)
        graph.load_state_dict(weights)
        outputs["state dict"] = graph.to(bench.device)(image.to(bench.device)).cpu().numpy()
        graph.cpu()
    if provider in onnxruntime.get_available_providers():
        session = onnxruntime.InferenceSession(onnx(graph), providers=[provider])
        outputs["ONNX"] = session.run(None, {"input": image.numpy()})[0]
    rows = [
        [name, f"{np.abs(value - expected).max() / np.ptp(expected):.1e}"]
        for name, value in outputs.items()
    ]
    if "ONNX" not in outputs:
        rows.append(["ONNX", "not run: this onnxruntime has no CUDA"])
    return table(["format", "largest difference, of the range"], rows)


def training_repeats(bench: Bench) -> str:
    """Train twice for some steps with one seed, and compare the weights."""
    rows = []
    models = [noise_model(k).to(bench.device) for k in range(2)]
    targets = bench.targets(4, bench.presets["small"]["patch"])
    for precision in ("32", "bf16"):
        ends = []
        for _ in range(2):
            task = new_task(bench.network().to(bench.device), models)
            torch.manual_seed(1)
            for _ in range(STEPS):
                step(task, targets, precision)
            ends.append(torch.cat([p.detach().flatten() for p in task.model.parameters()]))
        moved = float((ends[0] - ends[1]).abs().max() / ends[0].abs().max())
        rows.append([precision, _word(torch.equal(*ends)), f"{moved:.1e}"])
    return table(["precision", "equal to the bit", "largest difference, of the largest"], rows)


def small_memory_is_enough(bench: Bench) -> str:
    """Split a tile that a GPU has too little memory for."""
    if not bench.gpu:
        return "Not run: this needs a GPU.\n"
    frame, sampling = bench.frame(2048), Sampling(0)
    model = Form().apply(bench.network().to(bench.device))
    whole = predict_frame(model, frame, sampling, tile=2048, halo=HALO).mean
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        peak / 3 / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        parts = predict_frame(model, frame, sampling, tile=2048, halo=HALO).mean
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    share = np.abs(parts - whole).max() / np.ptp(whole)
    return f"With a third of {peak / 2**30:.1f} GiB: {share:.1e} of the range.\n"


def _word(value: bool) -> str:
    return "yes" if value else "NO"
