"""Test packages with bioimageio.core, in its own environment.

    python in_bioimageio.py FOLDER [FOLDER ...]

Each FOLDER holds package.zip and inputs/test.npy, its test input. For each weight format the output
is written to FORMAT/test.npy, and what the test of bioimageio.core finds to FORMAT.txt. An image in
blocks.npy is predicted by the ONNX weights, into onnx/whole.npy and in blocks into onnx/blocks.npy.
"""

from __future__ import annotations

import sys
import traceback
from inspect import signature
from pathlib import Path

import numpy as np
from bioimageio.core import create_prediction_pipeline, load_model_description, test_description
from bioimageio.core.digest_spec import create_sample_for_model, get_test_input_sample

FORMATS = ("pytorch_state_dict", "torchscript", "onnx")


def run(folder: Path, weights: str) -> str:
    """Test one weight format, as ``bioimageio test`` does, and keep its output."""
    package = folder / "package.zip"
    summary = test_description(package, weight_format=weights)
    details = [detail for detail in summary.details if f"({weights})" in detail.name]
    errors = [e.msg for d in details for e in d.errors if d.status != "passed"]
    model = load_model_description(package)
    with create_prediction_pipeline(model, weight_format=weights) as pipeline:
        predict = pipeline.predict_sample_without_blocking
        # newer versions add a halo to the whole image too, but not in their own test
        bare = signature(predict).parameters.keys() & {"skip_input_padding", "skip_output_cropping"}
        results = {"test": predict(get_test_input_sample(model), **dict.fromkeys(bare, True))}
        if weights == "onnx" and (folder / "blocks.npy").exists():
            image = {model.inputs[0].id: np.load(folder / "blocks.npy")}
            results["whole"] = predict(create_sample_for_model(model, inputs=image))
            results["blocks"] = pipeline.predict_sample_with_blocking(
                create_sample_for_model(model, inputs=image)
            )
    (folder / weights).mkdir(exist_ok=True)
    for name, sample in results.items():
        (output,) = sample.members.values()
        np.save(folder / weights / f"{name}.npy", output.data.to_numpy())
    if errors or not details or summary.status != "passed":
        return "\n".join(errors) or f"{len(details)} tests, status: {summary.status}"
    return ""


def main() -> None:
    """Test all weight formats of all packages."""
    for folder in map(Path, sys.argv[1:]):
        for weights in FORMATS:
            try:
                problem = run(folder, weights)
            except Exception:
                problem = traceback.format_exc()
            if problem:
                (folder / f"{weights}.txt").write_text(problem)


if __name__ == "__main__":
    main()
