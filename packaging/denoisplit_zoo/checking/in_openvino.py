"""Run ONNX weights in OpenVINO. A program of its own, which imports nothing of this package.

    python in_openvino.py FOLDER [FOLDER ...]

Each FOLDER holds weights.onnx and inputs/*.npy. The outputs are written to onnx/*.npy, or the
reason for which there are none to onnx.txt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

# by default, OpenVINO computes with 16 bits where the processor can
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def run(folder: Path) -> None:
    """Run the weights in a folder on all of its inputs."""
    import openvino

    model = openvino.Core().compile_model(str(folder / "weights.onnx"), "CPU", OPTIONS)
    (folder / "onnx").mkdir(exist_ok=True)
    for file in sorted((folder / "inputs").glob("*.npy")):
        np.save(folder / "onnx" / file.name, model(np.load(file))[0])


def main() -> None:
    """Run the weights in all folders."""
    for folder in map(Path, sys.argv[1:]):
        try:
            run(folder)
        except Exception as error:  # whatever the reason is, it is the answer
            (folder / "onnx.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
