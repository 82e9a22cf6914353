"""What a result is recognised by: weights, pixels, options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from denoisplit.errors import InputError
from denoisplit.images import read_image, write_ome_tiff
from denoisplit.images.formats.zarr_write import writable_array
from denoisplit.jobs.identity import check_same_record, weights_digest

from .conftest import OPTIONS, made

Call = Callable[..., Any]


def test_the_weights_of_a_job_are_those_of_splitter_and_denoiser(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(path=tmp_path)
    denoiser = tmp_path / "denoisers" / "mixed"
    denoiser.mkdir(parents=True)
    (tmp_path / "model.safetensors").write_bytes(b"splitter")
    digests = [weights_digest(run)]
    for content in (b"one", b"two"):
        (denoiser / "model.safetensors").write_bytes(content)
        digests.append(weights_digest(run))
    assert len(set(digests)) == 3


def test_results_of_another_release_are_refused(tmp_path: Path) -> None:
    record = {"tile": 32, "sampling": {"seed": 0}}
    with pytest.raises(InputError, match="this result was written by another release"):
        check_same_record(tmp_path, {"tile": 32}, record, "result")
    with pytest.raises(InputError, match=r"this result used another spice \(1, not None\)"):
        check_same_record(
            tmp_path, {"tile": 32, "sampling": {"seed": 0, "spice": 1}}, record, "result"
        )


def test_an_image_that_differs_anywhere_is_another(
    works: Call, refused: Call, run_folder: Path, tmp_path: Path
) -> None:
    """In any pixel of a TIFF; in the corners of each plane of a Zarr, among others."""
    for kind in ("tif", "zarr"):
        image = made(tmp_path / f"mixed.ome.{kind}")
        works("predict", run_folder, image, "-o", kind, *OPTIONS)
        if kind == "tif":
            pixels = read_image(image)
            pixels[1, 3, 60] += 1
            write_ome_tiff(image, pixels, overwrite=True)
        else:
            array = writable_array(image)
            array[1, 0, 3, 60] = array[1, 0, 3, 60] + 1
        refused("predict", run_folder, image, "-o", kind, *OPTIONS, "--resume",
                says=("this result used another image",))  # fmt: skip
