"""Time of the posterior mean of one frame: the published protocol, CAREamics and denoisplit.

    python benchmarks/prediction.py [--side 512] [--samples 50] [--preset paper] [--threads 1]
        [--device cuda]

Weights are random, since the time does not depend on them. The published protocol (patches of
128 px of which 32 px are kept, the whole network for every sample) is measured on a batch of
patches and scaled to the frame; CAREamics' forward pass on one patch of 256 px, scaled by pixels
and samples; ours on the whole frame with a few samples, of which all but the encoder is scaled.
With ``--threads 1``, times are processor times. The limit is the arithmetic of one encoder pass and
a decoder pass per sample on the frame alone, at the rate of a large product of matrices or a
convolution of many channels, whichever is faster.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import onnxruntime
import torch
from common import best_rate, machine, operations, peer, side_by_side, table

from denoisplit.machine.memory import keep_freed_memory
from denoisplit.network.addressed_noise import addressed_noise, normal_table, position_keys
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.prediction.tiles import BORDER

PATCH, KEPT, BATCH = 128, 32, 4
PEER_SIDE = 256
FEW = 2
SIZES: dict[str, dict[str, int]] = {"paper": {}, "small": {"filters": 32, "latents": 8}}


class Decoder(torch.nn.Module):
    """The decoder with all its inputs as arguments, for ONNX."""

    def __init__(self, model: VSE) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        n = len(tensors) // 2
        return self.model.decode(tensors[:n], tensors[n:])


def onnx_decoder(model: VSE, side: int) -> Any:
    """Return a function that computes one posterior sample of a patch with ONNX Runtime."""
    import io
    import warnings

    features = model.encode(torch.zeros(1, 1, side, side))
    eps = [torch.randn(1, *shape) for shape in model.latent_shapes(side, side)]
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Decoder(model), (*features, *eps), stream, dynamo=False,
            input_names=[f"i{n}" for n in range(2 * len(eps))],
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(stream.getvalue(), options)
    inputs = {f"i{n}": t.contiguous().numpy() for n, t in enumerate((*features, *eps))}
    return lambda: session.run(None, inputs)


def arithmetic(model: VSE, side: int, samples: int) -> float:
    """Count the floating-point operations to encode a frame once and decode it per sample."""
    x = torch.zeros(1, 1, side, side, device=model.input_mean.device)
    eps = [torch.zeros(1, *shape, device=x.device) for shape in model.latent_shapes(side, side)]
    with torch.no_grad():
        features = model.encode(x)
    once = operations(lambda: model.encode(x))
    return once + samples * operations(lambda: model.decode(features, eps))


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--preset", choices=tuple(SIZES), default="paper")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drawn", type=int, default=4, help="samples that are measured of ours")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    side, samples, sizes, device = given.side, given.samples, SIZES[given.preset], given.device
    torch.manual_seed(0)
    model = VSE(2, **sizes).eval().to(device)
    frame = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)

    # pixels times samples, of the whole and of one call
    job = samples * side**2
    patches = torch.randn(BATCH, 1, PATCH, PATCH, device=device)
    patch_eps = [
        torch.randn(BATCH, *shape, device=device) for shape in model.latent_shapes(PATCH, PATCH)
    ]
    theirs = peer(PEER_SIDE, **sizes).eval().to(device)
    theirs_x = torch.randn(1, 1, PEER_SIDE, PEER_SIDE, device=device)
    forms = [Form(p, c) for c in (False, True) for p in ("32", "bf16")]
    ours = {form: form.apply(model) for form in forms}
    sampling = Sampling(min(given.drawn, samples))
    whole = {"tile": 2 * side, "halo": 64}
    works: dict[str, Any] = {
        "published protocol": lambda: model(patches, patch_eps),
        "CAREamics, forward": lambda: theirs(theirs_x),
    }
    share = {"published protocol": BATCH * KEPT**2, "CAREamics, forward": PEER_SIDE**2}
    if torch.device(device).type == "cpu":
        works["ours, ONNX Runtime, decoder"] = onnx_decoder(inference_form(model), PEER_SIDE)
        share["ours, ONNX Runtime, decoder"] = PEER_SIDE**2
    for form, fast in ours.items():
        works[f"ours, {form}"] = lambda fast=fast: predict_frame(fast, frame, sampling, **whole)
    # the peers as they run by default; ours keeps the memory that it has freed
    times = side_by_side({n: works[n] for n in works if n in share}, given.rounds, device)
    keep_freed_memory()
    times |= side_by_side({n: works[n] for n in works if n not in share}, given.rounds, device)
    first = next(iter(works))
    again = side_by_side({first: works[first]}, 1, device)[first]

    keys = [
        position_keys(i, 0, 0, h, w).to(device)
        for i, (_, h, w) in enumerate(model.latent_shapes(side, side))
    ]
    noise = side_by_side(
        {"noise": lambda: addressed_noise(keys, (0, 1), seed=0, channels=model.latents,
                                          antithetic=True, table=normal_table().to(device))},
        given.rounds, device,
    )["noise"] / 2  # fmt: skip

    padded = torch.zeros(1, 1, side + 2 * BORDER, side + 2 * BORDER, device=device)
    encoders = side_by_side(
        {f"ours, {f}": lambda m=m: m.encode(padded) for f, m in ours.items()}, given.rounds, device
    )
    seconds = {name: value * job / share[name] for name, value in times.items() if name in share}
    few = {}  # of `FEW` samples, which may be as good as all (equal_quality.py)
    for name, encoder in encoders.items():
        sample = (times[name] - encoder) / sampling.samples
        seconds[name] = encoder + sample * samples
        few[name] = encoder + sample * FEW
    published, theirs_s = seconds["published protocol"], seconds["CAREamics, forward"]
    work = arithmetic(model, side, samples)
    rates = {
        precision: best_rate(getattr(torch, precision), device, given.rounds)
        for precision in ("float32", "bfloat16")
    }
    print(f"{machine()}\n\n{side} x {side} px, {samples} samples, network of `{given.preset}`\n")
    rows = []
    for name, value in seconds.items():
        limit = work / rates["bfloat16" if "bfloat16" in name else "float32"]
        rows.append([
            name, f"{value:.1f}", f"{samples / value:.2f}", f"{published / value:.1f}",
            f"{theirs_s / value:.2f}", f"{100 * limit / value:.0f} %",
        ])  # fmt: skip
    heads = ["", "s", "samples a second", "times the published protocol", "times CAREamics",
             "of the limit"]  # fmt: skip
    print(table(heads, rows))
    for name, value in few.items():
        print(f"{name}, {FEW} samples: {value:.2f} s (encoder {encoders[name]:.2f} s), "
              f"{published / value:.0f} times")  # fmt: skip
    print(f"{work / 2e12:.2f} T multiply-adds; the machine does " + ", ".join(
        f"{rate / 2e9:.0f} G a second in {precision}" for precision, rate in rates.items()
    ))  # fmt: skip
    print(f"published protocol again, freed memory kept: {again * job / (BATCH * KEPT**2):.1f} s")
    fastest = min(seconds[f"ours, {form}"] for form in forms)
    print(
        f"noise of a sample: {noise:.3f} s, {100 * noise * samples / fastest:.0f} % of the fastest"
    )
    one = Sampling(2, keep=2)
    part = frame[:192, :192]
    plain = predict_frame(model, part, one, **whole).samples
    for form, fast in ours.items():
        difference = np.abs(predict_frame(fast, part, one, **whole).samples - plain).max()
        print(f"{form} against the network itself, same eps: {difference / np.ptp(plain):.1e} "
              "of the range")  # fmt: skip


if __name__ == "__main__":
    main()
