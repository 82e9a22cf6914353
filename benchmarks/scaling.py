"""Cost against area, samples, structures and frames; peak memory of each.

    python benchmarks/scaling.py [--largest 4096] [--tile 512]

The `small` network with random weights. Times are processor times with one thread, which other
programs on the machine hardly change. Every line is measured in a new process, for its peak memory.
"""

from __future__ import annotations

import argparse
import resource
import time
from multiprocessing import get_context

import numpy as np
import torch
from common import machine, table

SIZES = {"filters": 32, "latents": 8, "patch": 64}


def measured(side: int, samples: int, structures: int, frames: int, tile: int) -> tuple[float, ...]:
    """Return the time, s, and the peak memory, GB."""
    from denoisplit.machine.memory import keep_freed_memory
    from denoisplit.network.inference import inference_form
    from denoisplit.network.vse import VSE
    from denoisplit.prediction.frame import predict_frame
    from denoisplit.prediction.sampling import Sampling

    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = inference_form(VSE(structures, **SIZES).eval())
    image = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    predict_frame(model, image[:256, :256], Sampling(2), tile=tile)
    start = time.process_time()
    for _ in range(frames):
        predict_frame(model, image, Sampling(samples), tile=tile, halo=64)
    taken = time.process_time() - start
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=4096)
    parser.add_argument("--tile", type=int, default=512)
    given = parser.parse_args()
    sides = [side for side in (1024, 2048, 4096) if side <= given.largest]
    cases = [(side, 4, 2, 1) for side in sides]
    cases += [(1024, samples, 2, 1) for samples in (2, 8)]
    cases += [(1024, 4, structures, 1) for structures in (1, 3)]
    cases += [(1024, 4, 2, frames) for frames in (2,)]
    print(f"{machine()}\n\nnetwork of `small`, tiles of {given.tile} px, halo 64\n", flush=True)
    rows = []
    base = None
    for side, samples, structures, frames in cases:
        with get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(measured, (side, samples, structures, frames, given.tile))
        each = seconds / (side**2 * samples * frames) * 1e6
        base = base or each
        rows.append([f"{side} x {side}", samples, structures, frames, f"{seconds:.1f}",
                     f"{each:.3f}", f"{each / base:.3f}", f"{peak:.2f}"])  # fmt: skip
    head = ["px", "samples", "structures", "frames", "s", "s per megapixel and sample",
            "against the first line", "peak memory, GB"]  # fmt: skip
    print(table(head, rows))


if __name__ == "__main__":
    main()
