"""One pass, decoded means and error map, beside means of samples; in every form that may be faster.

    python benchmarks/one_pass.py RUN ER=er.tif actin=actin.tif [--first 24] [--frames 6]
    python benchmarks/one_pass.py --preset paper --side 256

With a run, PSNR is compared too: on noise-free images, with the noise of its training. Images
before ``--first`` calibrate the int8 network: convolutions of the splitting network but the first
and the last, per channel, by static quantisation in ONNX Runtime. Without a run, weights are
random. Processor time of one thread on one image, the least of all rounds; that of many samples is
computed from a few.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from common import machine, side_by_side, table
from denoisplit_zoo.exporting.graph import Fast
from denoisplit_zoo.exporting.weights import build_graph, graph_arguments
from denoisplit_zoo.exporting.weights import onnx as to_onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from prediction import SIZES

from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.images import read_frames
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.network.inference import inference_form, local_form
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import ErrorMapping, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.prediction.tiles import Patch, Tiling
from denoisplit.run import Run, load

Array = npt.NDArray[np.float32]
Pass = Callable[[Array], Array]  # of an image: means, then standard deviations, (2C, Y, X)

HALO = 64
DRAWN = (2, 6)  # samples that are measured
SAMPLES = (16, 50)
DRY = {"filters": 8, "latents": 4, "levels": 2, "patch": 16}


def random_graph(sizes: dict[str, int]) -> Fast:
    """Return the graph of a network with random weights, and an error map as large as usual."""
    torch.manual_seed(0)
    graph = Fast(structures=2, error_groups=11, error_coverages=7, error_filters=16,
                 mean_filters=16, **sizes)  # fmt: skip
    return graph.eval().requires_grad_(False)


def patch_of(graph: Fast, frame: Array) -> Patch:
    """Return a frame as the one tile that `predict_frame` makes of it."""
    tiling = Tiling(graph.network, frame, tile=2 * max(frame.shape), halo=HALO)
    return tiling.patch(tiling.cores[0])


def in_form(graph: Fast, form: Form, samples: int = 0) -> Pass:
    """Return a pass of ours."""
    network = form.apply(graph.network)
    mapping = ErrorMapping(local_form(graph.error_map, form.dtype))

    def split(frame: Array) -> Array:
        tiles: dict[str, Any] = {"tile": 2 * max(frame.shape), "halo": HALO, "mapping": mapping}
        prediction = predict_frame(network, frame, Sampling(samples), **tiles)
        assert prediction.bars is not None
        return np.concatenate((prediction.mean, prediction.bars.std))

    return split


def in_onnxruntime(graph: Fast, model: bytes) -> Pass:
    """Return a pass of a model in ONNX Runtime, of the same tile."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options)

    def split(frame: Array) -> Array:
        patch = patch_of(graph, frame)
        y, x = (-at for at in patch[1:3])
        (out,) = session.run(None, {"input": patch.pixels[None, None]})
        inside: Array = out[0, :, y : y + frame.shape[0], x : x + frame.shape[1]]
        return inside

    return split


class Images(CalibrationDataReader):  # type: ignore[misc]  # without types
    """Tiles by which the ranges of int8 are chosen."""

    def __init__(self, tiles: Sequence[Array]) -> None:
        self.left: Iterator[Array] = iter(tiles)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next input."""
        return next(({"input": tile[None, None]} for tile in self.left), None)


def quantised(graph: Fast, tiles: Sequence[Array]) -> bytes:
    """Return the folded graph with convolutions in int8."""
    folded = copy.deepcopy(graph)
    folded.network = inference_form(graph.network)
    model = to_onnx(folded)
    names = [n.name for n in onnx.load_from_string(model).graph.node if n.op_type == "Conv"]
    kept = [name for name in names if any(w in name for w in ("error_map", "mean_corr", "/output"))]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(model)
        quantize_static(
            before, after, Images(tiles), per_channel=True, op_types_to_quantize=["Conv"],
            nodes_to_exclude=[names[0], *kept], weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )  # fmt: skip
        return after.read_bytes()


def passes_of(graph: Fast, tiles: Sequence[Array], compilations: Sequence[bool]) -> dict[str, Pass]:
    """Return one pass in every form."""
    forms = [Form(p, compiled) for compiled in compilations for p in ("32", "bf16")]  # type: ignore[arg-type]
    passes = {f"one pass, {form}": in_form(graph, form) for form in forms}
    passes["one pass, ONNX Runtime"] = in_onnxruntime(graph, to_onnx(graph))
    passes["one pass, ONNX Runtime, int8"] = in_onnxruntime(graph, quantised(graph, tiles))
    return passes


def seconds_of(graph: Fast, passes: dict[str, Pass], side: int, rounds: int) -> dict[str, float]:
    """Return the time of each pass and of the means of samples, for a square image."""
    frame = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    frame = frame * graph.network.input_std.item() + graph.network.input_mean.item()
    few, more = (in_form(graph, Form(), samples) for samples in DRAWN)
    works = passes | {"few": few, "more": more}
    least = side_by_side(
        {name: lambda split=split: split(frame) for name, split in works.items()}, rounds, of=min
    )
    start = least.pop("few")
    each = (least.pop("more") - start) / (DRAWN[1] - DRAWN[0])
    many = {f"{n} samples, float32": start + (n - DRAWN[0]) * each for n in SAMPLES}
    return {**many, **least}


def frames_of(run: Run, given: argparse.Namespace) -> EvaluationFrames:
    """Return images with the noise of the training of a run."""
    settings, facts = run.config.settings, run.config.facts
    files = dict(entry.split("=", 1) for entry in given.structures)
    read = [read_frames([files[name]]).images for name in run.names]
    noise = SyntheticNoise(settings.data.synthetic_poisson, facts.gaussian_sigma, facts.clip)
    return EvaluationFrames(read, noise, run.superposition, seed=1, part="test")


def quality_of(
    passes: dict[str, Pass], frames: EvaluationFrames, judged: Sequence[int]
) -> dict[str, list[str]]:
    """Return PSNR and standard deviations of each pass, relative to the first one."""
    results: dict[str, list[str]] = {}
    first: tuple[Array, list[Array]] | None = None
    for name, split in passes.items():
        outs = [split(frames.inputs[i]) for i in judged]
        structures = len(outs[0]) // 2
        psnr = np.mean([
            [range_invariant_psnr(frames.truth[i][k], out[k]) for k in range(structures)]
            for i, out in zip(judged, outs, strict=True)
        ], axis=0)  # fmt: skip
        stds = [out[structures:] for out in outs]
        first = first or (psnr, stds)
        ratios = np.concatenate([np.ravel(s / o) for s, o in zip(stds, first[1], strict=True)])
        results[name] = [", ".join(f"{v:+.3f}" for v in psnr - first[0]),
                         f"{100 * np.abs(ratios - 1).mean():.2f} %"]  # fmt: skip
    return results


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", nargs="?", help="with a correction of means and an error map")
    parser.add_argument("structures", nargs="*", metavar="NAME=FILE")
    parser.add_argument("--preset", choices=tuple(SIZES), default="small")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--first", type=int, default=24, help="image that is judged on first")
    parser.add_argument("--frames", type=int, default=6, help="most images that are judged on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="a tiny network, and none compiled")
    given = parser.parse_args(words)
    compilations = (False,) if given.dry else (False, True)
    torch.set_num_threads(1)
    keep_freed_memory()
    quality: dict[str, list[str]] = {}
    if given.run is None:
        graph = random_graph(DRY if given.dry else SIZES[given.preset])
        noise = np.random.default_rng(1).normal(size=(given.side, given.side))
        passes = passes_of(graph, [patch_of(graph, noise.astype(np.float32)).pixels], compilations)
    else:
        run = load(given.run, device="cpu")
        graph = build_graph(run, graph_arguments(run, samples=1, seed=0, kind="fast"), "fast")
        assert isinstance(graph, Fast)
        frames = frames_of(run, given)
        calibrating = np.linspace(0, given.first - 1, 4).astype(int)
        tiles = [patch_of(graph, frames.inputs[i]).pixels for i in calibrating]
        passes = passes_of(graph, tiles, compilations)
        judged = range(given.first, min(given.first + given.frames, len(frames)))
        many = {f"{n} samples, float32": in_form(graph, Form(), n) for n in SAMPLES[:1]}
        quality = quality_of(passes | many, frames, judged)
    seconds = seconds_of(graph, passes, given.side, given.rounds)
    one = seconds[f"one pass, {Form()}"]
    rows = [[name, f"{value:.2f}", f"{one / value:.2f}", *quality.get(name, ["", ""])]
            for name, value in seconds.items()]  # fmt: skip
    print(f"{machine()}\n\n{given.run or given.preset}, {given.side} x {given.side} px\n")
    print(table(["", "s", "times one pass", "PSNR against it, dB", "std differs by"], rows))


if __name__ == "__main__":
    main()
