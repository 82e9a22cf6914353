"""The ONNX weights of a package in OpenVINO, where it is installed."""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from denoisplit.files.npz import parse_npy
from denoisplit.progress import logger
from denoisplit_zoo.archive import Contents
from denoisplit_zoo.checking import in_openvino
from denoisplit_zoo.checking.bioimageio_program import run_program
from denoisplit_zoo.checking.images import read_test_tensor
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS

OPENVINO = "OpenVINO"
EQUAL = 1e-4  # largest difference from the test output, of the range of each channel


def check_in_openvino(contents: Contents) -> tuple[dict[str, list[str]], list[str]]:
    """Compare the output in OpenVINO with the test output.

    OpenVINO cuts 64-bit integers to 32 bits, which changes the noise of samples: what differs for
    that reason is a note, because no export can prevent it.

    Returns
    -------
    tuple of dict and list of str
        Problems by the name of this consumer, and notes; both empty without OpenVINO.
    """
    if find_spec("openvino") is None:
        return {}, []
    logger.info("OpenVINO, onnx")
    with tempfile.TemporaryDirectory(prefix="denoisplit-check-") as name:
        difference = _difference(contents, Path(name))
    if isinstance(difference, str):
        return {OPENVINO: [f"OpenVINO cannot run the onnx weights ({difference})"]}, []
    if difference < EQUAL:
        return {OPENVINO: []}, []
    text = f"differs from the test output by {difference:.1g} of the range of a channel"
    plain = [name for name, kind in PACKAGE_KINDS.items() if not kind.sampled]
    kind = contents.facts.get("kind")
    if kind not in PACKAGE_KINDS or kind in plain:
        return {OPENVINO: [f"the output of OpenVINO {text}, more than {EQUAL:g}"]}, []
    note = (
        f"the output of OpenVINO {text}: OpenVINO cuts 64-bit integers, of which the noise of the "
        f"samples is made, to 32 bits; use a package of kind {' or '.join(plain)} there"
    )
    return {}, [note]


def _difference(contents: Contents, folder: Path) -> float | str:
    """Return the largest difference as a share of the range of its channel, or what failed."""
    try:
        weights = contents.description["weights"]["onnx"]["source"]
        image, expected = (
            contents.files[contents.description[key][0]["test_tensor"]["source"]]
            for key in ("inputs", "outputs")
        )
    except (LookupError, TypeError):
        return "the package has no test tensors"
    (folder / "inputs").mkdir()
    (folder / "inputs" / "test.npy").write_bytes(image)
    (folder / "weights.onnx").write_bytes(contents.files[weights])
    _, log = run_program(folder, sys.executable, "-P", str(in_openvino.__file__), str(folder))
    try:
        output = parse_npy((folder / "onnx" / "test.npy").read_bytes())
        values = read_test_tensor(expected)
        if output.shape != values.shape:
            return f"its output has shape {output.shape}, not {values.shape}"
        ranges = np.maximum(np.ptp(values, (0, 2, 3)), np.finfo(np.float32).tiny)
        return float(np.max(np.abs(output - values).max((0, 2, 3)) / ranges))
    except OSError:
        reason = folder / "onnx.txt"
        return (reason.read_text() if reason.exists() else log).strip()[-300:] or "no output"
    except ValueError as error:
        return str(error)
