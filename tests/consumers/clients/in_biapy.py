"""Check packages with BiaPy, as the zoo does for its list of BiaPy's models, and run them in it.

    python in_biapy.py FOLDER [FOLDER ...]

Each FOLDER holds package.zip and inputs/*.npy. BiaPy's check reads the description, its loader
builds the network of the state dict, and the input is normalised with mean 0 and standard deviation
1, which leaves it as it is: the outputs are written to pytorch_state_dict/*.npy, or the reason for
which there are none to pytorch_state_dict.txt. (BiaPy's default normalises the input once more.)
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
import types
import zipfile
from pathlib import Path

import numpy as np
import torch
import yaml

# without running biapy/__init__.py, which imports every workflow and what those need
package = types.ModuleType("biapy")
specification = importlib.util.find_spec("biapy")
assert specification is not None
package.__path__ = list(specification.submodule_search_locations or ())
sys.modules["biapy"] = package

from biapy.config.config import Config  # noqa: E402
from biapy.data.norm import normalize_image  # noqa: E402
from biapy.models import build_bmz_model, check_bmz_model_compatibility  # noqa: E402
from bioimageio.spec import load_description  # noqa: E402

UNCHANGED = {"mean": [0.0], "std": [1.0]}  # DATA.NORMALIZATION.ZERO_MEAN_UNIT_VAR


def run(folder: Path) -> str:
    """Check a package, and run it on all inputs; return what the check finds."""
    with zipfile.ZipFile(folder / "package.zip") as archive:
        described = yaml.safe_load(archive.read("rdf.yaml"))
    report = check_bmz_model_compatibility(described)
    if report["error"]:
        return str(report["reason_message"])
    config = Config("", "consumers").get_cfg_defaults()
    config.PROBLEM.NDIM = report["workflow_info"]["ndim"]
    config.DATA.PATCH_SIZE = report["opts"]["DATA.PATCH_SIZE"]
    model = build_bmz_model(
        config, load_description(folder / "package.zip"), torch.device("cpu")
    ).eval()
    (folder / "pytorch_state_dict").mkdir(exist_ok=True)
    normalisation = {
        "type": config.DATA.NORMALIZATION.TYPE,
        "percentile_clip": config.DATA.NORMALIZATION.PERC_CLIP.ENABLE,
        "out_dtype": "float32",
        **UNCHANGED,
    }
    for file in sorted((folder / "inputs").glob("*.npy")):
        image, _ = normalize_image(np.load(file).transpose(0, 2, 3, 1).copy(), normalisation)
        with torch.no_grad():
            output = model(torch.from_numpy(image.transpose(0, 3, 1, 2)))
        np.save(folder / "pytorch_state_dict" / file.name, output.numpy())
    return ""


def main() -> None:
    """Check and run all packages."""
    for folder in map(Path, sys.argv[1:]):
        try:
            problem = run(folder)
        except Exception:
            problem = traceback.format_exc()
        if problem:
            (folder / "pytorch_state_dict.txt").write_text(problem)


if __name__ == "__main__":
    main()
