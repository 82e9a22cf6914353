"""Systems compared: equal budgets, one table, one page, finished runs kept."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from denoisplit.cli import main as cli
from denoisplit.commands import compare as module
from denoisplit.commands import train_several as trainings
from denoisplit.commands.compare import compare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.images import write_ome_tiff
from denoisplit.report import comparison
from denoisplit.run import load_config
from denoisplit.training.equal_budget import Effort

TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 2, "batch": 2},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "noise_model_fit": {"steps": 20, "components": 1},
    "synthetic_poisson": 2.0,
    "synthetic_gaussian": 1.0,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("images")
    files = {}
    for name, kind in (("ER", "mesh"), ("MT", "filaments")):
        stack = simulate(kind, frames=4, size=64, seed=1)
        write_ome_tiff(folder / f"{name}.tif", xr.DataArray(stack, dims=("t", "y", "x")))
        files[name] = [folder / f"{name}.tif"]
    return files


@pytest.fixture(autouse=True)
def logger() -> Iterator[None]:
    log = logging.getLogger("denoisplit")
    before = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate, log.level = before


def test_two_systems_one_table_one_page(
    images: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = ("altered_musplit", "musplit")
    compared = compare(images, tmp_path / "out", systems=systems, **TINY)
    lines = compared.text.splitlines()
    assert lines[0].split() == ["mean", "over", "structures", "Altered", "muSplit", "muSplit"]
    (psnr,) = [line for line in lines if line.startswith("PSNR")]
    assert len(re.findall(r"\d+\.\d+", psnr)) == 2
    stored = json.loads((tmp_path / "out" / "compare.json").read_text())
    for k, structure in enumerate(("ER", "MT")):  # verdicts come first
        verdicts = [stored[name]["verdicts"][k]["verdict"] for name in systems]
        assert re.split(r"\s{2,}", lines[1 + k]) == [f"verdict on {structure}", *verdicts]
    for name in systems:
        metrics = json.loads((tmp_path / "out" / name / "metrics.json").read_text())
        assert stored[name] == metrics
        assert load_config(tmp_path / "out" / name).settings.system == name
    page = (tmp_path / "out" / "compare.html").read_text()
    for words in (
        "ER and MT: systems compared",
        "Altered muSplit",
        "Every network was trained 2 steps of 2048 pixels.",
    ):
        assert words in page
    assert page.count("data:image/png") == 1 and "http" not in page.replace("http://www.w3", "")

    assert compared.done == {name: [(2, 2048)] for name in systems}
    assert lines[-1] == "Every network was trained 2 steps of 2048 pixels."

    drawn, draw = [], comparison.comparison_figure
    monkeypatch.setattr(
        comparison,
        "comparison_figure",
        lambda columns, names: drawn.append((columns, names)) or draw(columns, names),
    )
    again = compare(images, tmp_path / "out", systems=systems, **TINY)  # nothing is trained anew
    assert again == compared
    ((columns, names),) = drawn
    assert tuple(names) == ("ER", "MT")
    assert [column.title for column in columns] == [
        "noisy input",
        "Altered muSplit",
        "muSplit",
        "truth",
    ]
    panels = draw(columns, names).axes
    titles = [axes.get_title(loc) for axes in panels for loc in ("left", "center")]
    assert len(panels) == 8 and "MT: noisy input" in titles and "ER: noisy input" in titles
    assert titles.count("muSplit") == titles.count("truth") == 2
    for axes in panels:
        assert axes.images[0].get_array().shape == (64, 64)


def test_unequal_efforts_are_named() -> None:
    few, many = Effort(90, 64), Effort(100, 64)
    note = module.Comparison({}, {"denoisplit": [many], "hdn_musplit": [few, many] * 2}).note
    assert note == (
        "denoiSplit was trained 100 steps of 64 pixels. HDN(+)muSplit was trained 90 steps of 64 "
        "pixels and 100 steps of 64 pixels. HDN(+)muSplit has 4 networks."
    )


def test_a_chain_is_compared_by_each_of_its_networks(
    images: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its denoisers have as many steps and pixels as every other network, and the note says so."""
    given: dict[str, dict[str, Any]] = {}

    def stand_in(structures: Any, path: Path, **options: Any) -> Any:
        given[options["system"]] = options
        if len(given) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainings, "train", stand_in)
    denoiser = {"network": {"filters": 8, "levels": 2, "patch": 16}}
    with pytest.raises(KeyboardInterrupt):
        compare(
            images, tmp_path / "out", systems=("denoisplit", "hdn_musplit"),
            **{**TINY, "denoiser": denoiser, "network": {**TINY["network"], "planes": 1}} |
            {"network": {"filters": 8, "latents": 4, "levels": 4, "patch": 32}},
        )  # fmt: skip
    assert "denoiser" not in given["denoisplit"]
    chain = given["hdn_musplit"]
    same = {"max_steps": 2, "steps_per_epoch": 2, "max_epochs": 1, "early_stop_patience": 1}
    assert chain["training"] == given["denoisplit"]["training"] == {**same, "batch": 2}
    assert chain["denoiser"] == {**denoiser, "training": {**same, "batch": 8}}
    done = {"denoisplit": [Effort(2, 64)], "hdn_musplit": [Effort(2, 64)] * 4}
    assert module.Comparison({}, done).note == (
        "Every network was trained 2 steps of 64 pixels. HDN(+)muSplit has 4 networks."
    )


def test_refusals(images: dict[str, list[Path]], tmp_path: Path) -> None:
    for systems, says in (
        (("denoisplit",), "two or more"), (("denoisplit", "denoisplit"), "two or more"),
        (("denoisplit", "hdn"), "hdn"), (("nobody", "musplit"), "nobody"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            compare(images, tmp_path / "out", systems=systems, **TINY)
    with pytest.raises(InputError, match="`max_steps`"):
        compare(images, tmp_path / "out", synthetic_gaussian=1.0)
    for options, says in (
        ({"training": {"max_epochs": 3}}, r"training\.max_epochs"),
        ({"training": {"early_stop_patience": 3}}, r"training\.early_stop_patience"),
        ({"denoiser": {"training": {"max_steps": 3}}}, r"denoiser\.training\.max_steps"),
    ):
        with pytest.raises(InputError, match=says):
            compare(images, tmp_path / "out", **{**TINY, "max_steps": 2, **options})
    assert not (tmp_path / "out").exists()


def test_the_command(
    images: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    called = {}

    def stand_in(structures: Any, output: str, **options: Any) -> module.Comparison:
        called.update(options, structures=list(structures), output=output)
        return module.Comparison({}, {})

    monkeypatch.setattr(module, "compare", stand_in)
    flags = [word for n, f in images.items() for word in ("--structure", n, str(f[0]))]
    code = cli.main(
        ["compare", *flags, "-o", "out", "--systems", "denoisplit", "musplit", "--preset", "small"]
    )
    assert code in (0, None) and "pictures: out/compare.html" in capsys.readouterr().out
    assert called["systems"] == ["denoisplit", "musplit"] and called["preset"] == "small"
