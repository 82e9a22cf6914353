"""Check and measure denoisplit on a GPU, in at most eight minutes; writes one Markdown file.

    python benchmarks/gpu.py [-o gpu.md] [--dry] [--minutes 8]

Checks that a GPU gives what the CPU gives, and measures training, prediction and memory. Weights
are random, since the times do not depend on them. ``--dry`` runs the same code on the CPU with
small images, in seconds. The file is written anew after every part, so that nothing is lost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import best_rate, machine, operations, side_by_side, table
from gpu_checks import (
    HALO,
    Array,
    Bench,
    name_of,
    noise_is_that_of_the_cpu,
    packages_run,
    samples_are_those_of_the_cpu,
    small_memory_is_enough,
    tf32,
    training_repeats,
)
from prediction import arithmetic
from training_step import SIZES, new_task, noise_model, step

from denoisplit.files.atomic import write_text
from denoisplit.network.vse import VSE
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.prediction.tiles import tile_side


def training_steps(bench: Bench) -> str:
    """Measure a step of both presets in every form."""
    rows = []
    models = [noise_model(k).to(bench.device) for k in range(2)]
    for preset, sizes in bench.presets.items():
        patch = sizes.get("patch", 128)
        batch = 2 if bench.dry else 32
        network = bench.network(preset).to(bench.device)
        targets = bench.targets(batch, patch)
        counted = operations_of_step(network, models, targets)
        for form, fast in bench.forms:
            task = new_task(network, models, compiled=form.compiled)
            with tf32(fast):
                name, work = name_of(form, fast), partial(step, task, targets, form.precision)
                seconds = side_by_side({name: work}, _rounds(bench), bench.device)[name]
            rate = counted / seconds / peak_rate(bench, form, fast)
            rows.append([preset, name, f"{1e3 * seconds:.1f}", f"{batch / seconds:.0f}",
                         f"{100 * rate:.0f} %"])  # fmt: skip
    return table(["network", "form", "ms a step", "patches a second", "of the limit"], rows)


def operations_of_step(network: VSE, models: Any, targets: torch.Tensor) -> float:
    """Count the floating-point operations of one training step."""
    task = new_task(network, models)
    with torch.enable_grad():
        return operations(lambda: _with_gradients(task, targets))


def _with_gradients(task: Any, targets: torch.Tensor) -> None:
    with torch.enable_grad():
        task.loss(targets).total.backward()


def prediction(bench: Bench) -> str:
    """Measure 50 samples and one pass on a large frame, and one pass on frames of 512 px."""
    side, small = (64, 32) if bench.dry else (2048, 512)
    samples = 2 if bench.dry else 50
    rows = []
    for preset in SIZES:
        model = bench.network(preset).to(bench.device)
        counted = arithmetic(model, side, samples)
        for form, fast in bench.forms:
            network = form.apply(model)
            tiles = {"tile": tile_side(network, HALO), "halo": HALO}
            large, little = bench.frame(side), bench.frame(small)

            def split(
                frame: Array, count: int, network: Any = network, tiles: Any = tiles
            ) -> Callable[[], Any]:
                return lambda: predict_frame(network, frame, Sampling(count), **tiles)

            with tf32(fast):
                times = side_by_side(
                    {
                        f"{samples} samples": split(large, samples),
                        "one pass": split(large, 0),
                        "images": split(little, 0),
                    },
                    _rounds(bench),
                    bench.device,
                )
            all_samples, one_pass, images = times.values()
            rate = counted / all_samples / peak_rate(bench, form, fast)
            rows.append([preset, name_of(form, fast), f"{all_samples:.2f}", f"{100 * rate:.0f} %",
                         f"{1e3 * one_pass:.0f}", f"{1 / images:.1f}"])  # fmt: skip
    head = ["network", "form", f"{samples} samples of {side} x {side} px, s", "of the limit",
            "one pass, ms", f"images of {small} x {small} px a second, one pass"]  # fmt: skip
    return table(head, rows)


def largest_tile(bench: Bench) -> str:
    """Find the largest tile of which an antithetic pair is decoded at once."""
    rows = []
    for preset in SIZES:
        model = Form().apply(bench.network(preset).to(bench.device))
        chosen, side, peak = tile_side(model, HALO), 0, 0.0
        sides = [64] if bench.dry else [2**n for n in range(8, 15)]
        for larger in sides:
            try:
                if bench.gpu:
                    torch.cuda.reset_peak_memory_stats()
                with torch.inference_mode():
                    features = model.encode(torch.zeros(1, 1, larger, larger, device=bench.device))
                    eps = [
                        torch.zeros(2, *shape, device=bench.device)
                        for shape in model.latent_shapes(larger, larger)
                    ]
                    *lower, top = features
                    model.decode([*(f.expand(2, -1, -1, -1) for f in lower), top], eps)
            except torch.OutOfMemoryError:
                break
            side = larger
            peak = torch.cuda.max_memory_allocated() / 2**30 if bench.gpu else 0.0
        rows.append([preset, chosen, side, f"{peak:.1f}" if bench.gpu else ""])
        if bench.gpu:
            torch.cuda.empty_cache()
    head = ["network", "side of a tile that is chosen, px", "largest, px", "its memory, GiB"]
    return table(head, rows)


def two_processes(bench: Bench) -> str:
    """Measure the images a second of one process, and of two at once."""
    rows = []
    command = [sys.executable, __file__, "--worker", *(["--dry"] if bench.dry else [])]
    for count in (1, 2):
        workers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        rates = [float(worker.communicate()[0]) for worker in workers]
        rows.append([count, f"{sum(rates):.1f}"])
    return table(["processes", "images a second, one pass"], rows)


def worker(bench: Bench) -> None:
    """Print the images a second of one process, for `two_processes`."""
    frame = bench.frame(32 if bench.dry else 512)
    model = Form("bf16").apply(bench.network().to(bench.device))
    end, done = 0.3 if bench.dry else 10.0, 0
    predict_frame(model, frame, Sampling(0))
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < end:
        predict_frame(model, frame, Sampling(0))
        done += 1
    print(done / passed)


PARTS: dict[str, Callable[[Bench], str]] = {
    "Noise": noise_is_that_of_the_cpu,
    "Samples": samples_are_those_of_the_cpu,
    "Formats of packages": packages_run,
    "Training twice": training_repeats,
    "Too little memory": small_memory_is_enough,
    "Training": training_steps,
    "Prediction": prediction,
    "Largest tile": largest_tile,
    "Two processes": two_processes,
}


def _rounds(bench: Bench) -> int:
    return 1 if bench.dry else 3


_rates: dict[tuple[torch.dtype, bool], float] = {}


def peak_rate(bench: Bench, form: Form, fast: bool) -> float:
    """Return the highest rate of arithmetic in a precision, measured once."""
    key = (torch.float32 if form.precision == "32" else torch.bfloat16, fast)
    if key not in _rates:
        with tf32(fast):
            _rates[key] = best_rate(key[0], bench.device, 1)
    return _rates[key]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all parts and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu.md"))
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if not (given.dry or torch.cuda.is_available()):
        raise SystemExit("no GPU was found; --dry runs small images on the CPU")
    bench = Bench("cpu" if given.dry else "cuda", given.dry)
    if given.worker:
        return worker(bench)
    start = time.monotonic()
    text = f"{machine()}\n"
    for title, part in PARTS.items():
        seconds = time.monotonic() - start
        if seconds > 60 * given.minutes:
            result = f"Not run: {given.minutes:g} minutes had passed.\n"
        else:
            try:
                result = part(bench)
            except Exception as error:  # the other parts are worth having
                result = f"FAILED: {type(error).__name__}: {error}\n"
        text += f"\n### {title}\n\n{result}"
        write_text(given.output, text)
    print(text)


if __name__ == "__main__":
    main()
