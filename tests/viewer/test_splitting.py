"""A run is described and a layer split as by the Python interface."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import denoisplit
from denoisplit.errors import InputError
from denoisplit.viewer import splitting
from denoisplit.viewer.layers import ImageLayer
from denoisplit.viewer.splitting import Choices, describe, split_layer

from .conftest import VERDICTS
from .test_layers import layer_of

PIXELS = np.random.default_rng(0).uniform(20, 100, (2, 2, 32, 48)).astype(np.float32)


def source_of(pixels: np.ndarray, axes: str) -> ImageLayer:
    return ImageLayer.of(layer_of(*pixels.shape, data=pixels), axes)


def test_a_run_is_described_in_words(run_folder: Path, mapped_folder: Path) -> None:
    facts = describe(str(mapped_folder))
    assert facts.text.splitlines() == ["denoiSplit of the sum of ER and MT.", *VERDICTS]
    assert facts.coverages == (0.5, 0.9) and facts.usual == 0.9
    plain = describe(str(run_folder))
    assert plain.text.endswith("\nHow well it splits is not known: it has no verdict.")
    assert plain.coverages == () and plain.usual is None


def test_a_layer_is_split_as_an_array(mapped_folder: Path) -> None:
    moves: list[float] = []
    choices = Choices(str(mapped_folder), 1, samples=2, keep_samples=1, interval=0.5, seed=3)
    layers, warnings = split_layer(source_of(PIXELS, "TCYX"), choices, moves.append)
    split = denoisplit.load(mapped_folder).predict(
        PIXELS[:, 1], "TYX", samples=2, keep_samples=1, interval=0.5, seed=3
    )
    assert len(layers) == 10 and moves == sorted(moves) and moves[-1] == 1
    for kind, array in (("", split.mean), (" error bar", split.std), (" samples", split.samples)):
        (values,) = [v for v, properties, _ in layers if properties["name"] == f"MT{kind}"]
        np.testing.assert_array_equal(values, array.sel(c="MT"))
    assert any(line.startswith("2 samples: the mean is noisier") for line in warnings)


def test_warnings_are_lines_for_the_user(run_folder: Path) -> None:
    handlers = list(logging.getLogger("denoisplit").handlers)
    _, warnings = split_layer(
        source_of(50 * PIXELS[0, 0], "YX"), Choices(str(run_folder)), lambda _: None
    )
    assert any(line.startswith("mixed: its mean intensity is") for line in warnings)
    assert logging.getLogger("denoisplit").handlers == handlers


def test_what_the_callback_raises_ends_the_work(run_folder: Path) -> None:
    def stop(_: float) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        split_layer(source_of(PIXELS[0, 0], "YX"), Choices(str(run_folder)), stop)


def test_a_package_is_imported_for_a_while(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path] = []

    def import_package(package: str, output: Path) -> denoisplit.Run:
        assert package == str(tmp_path / "er-mt.zip") and not output.exists()
        places.append(output)
        return denoisplit.load(run_folder)

    monkeypatch.setattr(splitting, "import_package", import_package)
    (tmp_path / "er-mt.zip").touch()
    assert describe(str(tmp_path / "er-mt.zip")).text == describe(str(run_folder)).text
    assert len(places) == 1 and not places[0].parent.exists()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "no run is chosen"),
        ("nowhere", "no such folder"),
        (".", "this folder holds no config.yaml"),
        ("note.zip", "note.zip"),
    ],
)
def test_what_is_no_run_is_refused(path: str, problem: str) -> None:
    Path("note.zip").write_text("no package")
    with pytest.raises(InputError) as error:
        describe(path)
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_a_plane_narrower_than_the_stride_is_refused(run_folder: Path) -> None:
    with pytest.raises(InputError, match="mixed: found planes of 32 x 2 px"):
        split_layer(source_of(PIXELS[0], "XYZ"), Choices(str(run_folder)), print)
