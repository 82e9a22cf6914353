"""``denoisplit export``: other runs, what the user adds, refusals, the command."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from denoisplit_zoo import About, export, import_package
from denoisplit_zoo.exporting.export import tile_for
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS, channel_names

from denoisplit.cli import main as cli
from denoisplit.config.commands import EXPORT
from denoisplit.errors import InputError
from denoisplit.images import write_ome_tiff
from denoisplit.run import load, save_config

from ..conftest import (
    ONE_PASS,
    SIZES,
    SMALL,
    STRIDE,
    blobs,
    contents,
    make_run,
    small,
    structure_files,
)

# ---------------------------------------------------------------- other runs, other wishes


@pytest.mark.usefixtures("light")
def test_the_users_part(run_folder: Path, tmp_path: Path) -> None:
    about = tmp_path / "about.yaml"
    about.write_text(
        "authors: [{name: Ada L, affiliation: 'Institute: of x', github_user: adaxyz}]\n"
        "maintainers: [{github_user: adaxyz}]\nlicense: MIT\ntags: [lysosomes]\n"
        "description: Splits this from that.\ntraining_data: Fields of two dishes.\n"
        "git_repo: https://example.org/repo\n"
    )
    found = contents(export(run_folder, tmp_path / "p.zip", about=about, name="My split", **SMALL))
    described = yaml.safe_load(found["rdf.yaml"])
    assert described["authors"] == [
        {"name": "Ada L", "affiliation": "Institute: of x", "github_user": "adaxyz"}
    ]
    assert described["maintainers"] == [{"github_user": "adaxyz"}]
    assert (described["license"], described["name"]) == ("MIT", "My split")
    assert described["config"]["bioimageio"]["nickname"] == "my-split-mmse"
    assert described["description"] == "Splits this from that."
    assert "lysosomes" in described["tags"]
    assert described["git_repo"] == "https://example.org/repo"
    assert "Fields of two dishes." in found["README.md"].decode()


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("kind", PACKAGE_KINDS)
def test_hdn_is_described_as_a_denoiser(tmp_path: Path, kind: str) -> None:
    run = make_run(
        tmp_path / "run", structure_files(tmp_path / "images", ["ER"], (150, 160)), system="hdn",
        network=SIZES | {"levels": 5, "blocks_per_level": 2}, error_map=True,
    )  # fmt: skip
    found = contents(export(run, tmp_path / "p.zip", **small(kind)))
    described, readme = yaml.safe_load(found["rdf.yaml"]), found["README.md"].decode()
    assert described["name"] == f"HDN ER ({kind})"
    assert [c["doi"] for c in described["cite"]] == [
        "10.48550/arXiv.2403.11854", "10.48550/arXiv.2104.01374",
    ]  # fmt: skip
    assert described["inputs"][0]["axes"][1]["channel_names"] == ["noisy"]
    assert described["weights"]["pytorch_state_dict"]["architecture"]["kwargs"]["variance"] == "exp"
    for text in (readme, str(described["inputs"]), described["description"]):
        assert "split" not in text.replace(f"({kind})", "").partition("## Citation")[0].lower()
        assert "superpos" not in text
    assert "removes their noise" in readme and "2104.01374" in readme


@pytest.mark.usefixtures("light")
def test_the_original_hdn_has_its_first_convolution_in_the_package(tmp_path: Path) -> None:
    """The architecture file builds, and the weights fit, what the run predicts with."""
    run = make_run(
        tmp_path / "run", structure_files(tmp_path / "images", ["ER"], (150, 160)), system="hdn",
        preset="original", network=SIZES | {"levels": 3, "blocks_per_level": 2},
    )  # fmt: skip
    found = contents(export(run, tmp_path / "p.zip", **SMALL))
    weights = yaml.safe_load(found["rdf.yaml"])["weights"]["pytorch_state_dict"]
    scope: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(found["architecture.py"], "architecture.py", "exec"), scope)
    graph = scope[weights["architecture"]["callable"]](**weights["architecture"]["kwargs"])
    graph.load_state_dict(torch.load(io.BytesIO(found[weights["source"]]), weights_only=True))
    assert graph.network.encoder.first[0].kernel_size == (5, 5)
    image = torch.from_numpy(np.load(io.BytesIO(found["test_input.npy"])))
    with torch.no_grad():
        ours = graph.eval()(image).numpy()
    expected = np.load(io.BytesIO(found["test_output.npy"]))
    assert np.abs(ours - expected).max() < 1e-3 * np.ptp(expected)
    back = import_package(tmp_path / "p.zip", tmp_path / "back")
    assert back.config.settings.network.first_kernel == 5
    assert torch.equal(
        back.model.state_dict()["encoder.first.0.weight"], graph.network.encoder.first[0].weight
    )


@pytest.mark.usefixtures("light")
def test_frames_smaller_than_the_tile_are_reflected(tmp_path: Path) -> None:
    """One structure without noise models, too: Altered muSplit has none."""
    run = make_run(
        tmp_path / "run", structure_files(tmp_path / "images", ["A", "B", "C"], (90, 100)),
        system="altered_musplit",
    )  # fmt: skip
    found = contents(export(run, tmp_path / "p.zip", **SMALL))
    image = np.load(io.BytesIO(found["test_input.npy"]))[0, 0]
    assert image.shape == (96, 96)
    np.testing.assert_array_equal(image[:3], image[6:3:-1])
    described = yaml.safe_load(found["rdf.yaml"])
    assert "is reflected to 96 px" in described["config"]["denoisplit"]["test_image"]
    assert described["outputs"][0]["axes"][1]["channel_names"][3:] == ["A_std", "B_std", "C_std"]
    assert json.loads(found["denoisplit.json"])["noise_models"] == {}


@pytest.mark.usefixtures("light")
def test_a_run_gives_equal_packages_at_all_times(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a copy of it, whose files have another date; the weights have tests of their own."""
    run = Path(shutil.copytree(run_folder, tmp_path / "copy"))
    config = load(run_folder, device="cpu").config
    created = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))
    save_config(run, config.model_copy(update={"created": created}))
    packages = [export(run, tmp_path / "first.zip", **SMALL).read_bytes()]
    for path in run.rglob("*"):
        os.utime(path, (0, 0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: 2e9)
    packages.append(export("copy", "second.zip", **SMALL).read_bytes())
    assert packages[0] == packages[1]
    described = yaml.safe_load(contents(tmp_path / "second.zip")["rdf.yaml"])
    assert described["timestamp"] == "2026-03-01T10:30:00+00:00"
    back = import_package("second.zip", "back")
    assert back.config.created == created


@pytest.mark.slow
def test_processes_give_equal_packages(run_folder: Path, tmp_path: Path) -> None:
    options = ", ".join(f"{key}={value!r}" for key, value in SMALL.items())
    files = [export(run_folder, tmp_path / f"{k}.zip", **SMALL) for k in range(2)]
    code = f"import denoisplit_zoo as d; d.export({str(run_folder)!r}, 'c.zip', {options})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert files[0].read_bytes() == files[1].read_bytes() == (tmp_path / "c.zip").read_bytes()


@pytest.mark.usefixtures("light")
def test_a_given_test_image_needs_no_training_images(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("structure0.tif", "gone.tif"))
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match="`test_image`"):
        export(run, tmp_path / "p.zip", **SMALL)
    image = blobs(3, (120, 131))
    tifffile.imwrite(tmp_path / "mixed.tif", image)
    found = contents(export(run, tmp_path / "p.zip", test_image=tmp_path / "mixed.tif", **SMALL))
    part = np.load(io.BytesIO(found["test_input.npy"]))[0, 0]
    places = [
        (y, x)
        for y in range(0, 25)
        for x in range(0, 36)
        if np.array_equal(image[y : y + 96, x : x + 96], part)
    ]
    assert len(places) == 1
    assert "This run was not evaluated." in found["README.md"].decode()


def test_changed_training_images_are_no_test_image(run_folder: Path, tmp_path: Path) -> None:
    files = structure_files(tmp_path / "images", ["A", "B"], (100, 100))
    run = make_run(tmp_path / "run", files)
    tifffile.imwrite(files["B"][0], blobs(7, (100, 100)))
    with pytest.raises(InputError, match="not the image of B"):
        export(run, tmp_path / "p.zip", **SMALL)


def test_the_tile_grows_with_the_halo() -> None:
    assert [tile_for(halo) for halo in (32, 96, 112, 192, 240, 384)] == [
        256, 256, 512, 512, 1024, 1024,
    ]  # fmt: skip


def test_channel_names() -> None:
    structures = ("ER", "2 photon (x)")
    assert channel_names("mmse", structures, 16) == [
        "ER", "s_2_photon_x", "ER_std", "s_2_photon_x_std",
    ]  # fmt: skip
    assert channel_names("samples", structures, 2) == [
        "ER_1", "s_2_photon_x_1", "ER_2", "s_2_photon_x_2",
    ]  # fmt: skip
    assert channel_names("split", structures, 16) == ["ER", "s_2_photon_x"]
    assert channel_names("fast", structures, 0) == channel_names("mmse", structures, 16)
    assert channel_names("interval", structures, 0) == [
        "ER", "s_2_photon_x", "ER_low", "s_2_photon_x_low", "ER_high", "s_2_photon_x_high",
    ]  # fmt: skip
    for kind, pair in (
        ("split", ("a b", "a-b")),
        ("mmse", ("a", "a_std")),
        ("interval", ("a", "a_low")),
    ):
        with pytest.raises(InputError, match="names that differ"):
            channel_names(kind, pair, 2)


def test_the_command_line_offers_every_kind() -> None:
    (option,) = (o for o in EXPORT.options if o.name == "kind")
    assert option.choices == tuple(PACKAGE_KINDS)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 1}, ["samples: ", "2 or more, not 1"]),
        ({"samples": 257}, ["samples: ", "256 or less, not 257"]),
        ({"tile": 98}, ["tile: ", "multiple", f" {STRIDE} px"]),
        ({"tile": 64}, ["tile: ", "twice the halo of 32 px"]),
        ({"halo": 22}, ["halo: ", f" {STRIDE} px"]),
        ({"halo": 0}, ["halo: "]),
        ({"kind": "everything"}, ["kind: ", "mmse, fast, interval, samples, split"]),
        ({"kind": "samples", "samples": 0}, ["samples: ", "1 or more"]),
        ({"seed": -1}, ["seed: "]),
        ({"interval": 0.9}, ["interval: ", "only packages of kind interval"]),
        ({"name": "a/b model"}, ["name: ", "'a/b model'"]),
        ({"name": "abc"}, ["name: ", "5 to 128"]),
        ({"test_image": "none.tif"}, ["none.tif"]),
        ({"about": "none.yaml"}, ["none.yaml"]),
        ({"about": About(license="No-Such-1.0")}, ["license"]),
    ],
)
@pytest.mark.usefixtures("light")
def test_refusals_leave_nothing(
    run_folder: Path, tmp_path: Path, options: dict[str, Any], words: list[str]
) -> None:
    folder = tmp_path / "new"
    with pytest.raises(InputError) as caught:
        export(run_folder, folder / "p.zip", **SMALL | options)
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text
    assert not list(folder.glob("*"))


@pytest.mark.usefixtures("light")
def test_packages_of_one_run_differ_in_name_and_nickname(
    mapped_folder: Path, tmp_path: Path
) -> None:
    """Fiji lists packages by these alone, and its macros take the first of a name."""
    run = load(mapped_folder, device="cpu")
    options = [small(kind) for kind in PACKAGE_KINDS]
    options += [small("mmse") | {"seed": 3}, small("interval") | {"interval": 0.5}]
    names = []
    for k, option in enumerate(options):
        described = yaml.safe_load(
            contents(export(run, tmp_path / f"{k}.zip", **option))["rdf.yaml"]
        )
        names.append((described["name"], described["config"]["bioimageio"]["nickname"]))
    start, nick = "denoiSplit ER + F-actin (60x)", "denoisplit-er-f-actin-60x"
    labels = (*PACKAGE_KINDS, "mmse seed 3", "interval 50")
    assert names == [(f"{start} ({x})", f"{nick}-{x.replace(' ', '-')}") for x in labels]


@pytest.mark.parametrize("kind", ONE_PASS)
def test_one_pass_needs_an_error_map(run_folder: Path, tmp_path: Path, kind: str) -> None:
    """A line says how to add one; ``mmse`` is exported as before."""
    with pytest.raises(InputError) as caught:
        export(run_folder, tmp_path / "p.zip", **small(kind))
    assert str(caught.value) == (
        f"{run_folder}: this run has no error map, which packages of kind {kind} need; "
        f"add one with `denoisplit calibrate {run_folder}`"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "fast", "samples": 2}, ["samples: ", "kind fast draws no samples"]),
        ({"kind": "interval", "samples": 16}, ["samples: ", "kind interval draws no samples"]),
        ({"kind": "interval", "interval": 0.8}, ["interval: ", "0.8", "one of 0.5, 0.9"]),
        ({"kind": "fast", "interval": 0.9}, ["interval: ", "only packages of kind interval"]),
    ],
)
def test_options_that_the_kind_does_not_have(
    mapped_folder: Path, tmp_path: Path, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        export(mapped_folder, tmp_path / "p.zip", **SMALL | {"samples": None} | options)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(("kind", "halo"), [("mmse", 64), ("fast", 64), ("split", 48)])
def test_the_halo_reaches_what_the_error_map_sees(
    mapped_folder: Path, tmp_path: Path, kind: str, halo: int
) -> None:
    run = load(mapped_folder, device="cpu")
    settings = run.config.settings
    free = settings.model_copy(
        update={"prediction": settings.prediction.model_copy(update={"halo": None})}
    )
    config = run.config.model_copy(update={"settings": free})
    run = replace(run, config=config, halo_errors={48: 0.001, 64: 1e-5})
    options = small(kind) | {"halo": None, "tile": None}
    found = contents(export(run, tmp_path / "p.zip", **options))
    axes = yaml.safe_load(found["rdf.yaml"])["outputs"][0]["axes"]
    assert [axis["halo"] for axis in axes[2:]] == [halo, halo]


@pytest.mark.parametrize("context", ["lean", "regular"])
def test_a_network_with_context_is_refused_in_one_sentence(tmp_path: Path, context: str) -> None:
    """Its planes are cut from the whole frame, and consumers give tiles."""
    run = make_run(
        tmp_path / "run", structure_files(tmp_path / "images", ["A", "B"], (100, 100)),
        system="musplit", network=SIZES | {"planes": 3, "context": context},
    )  # fmt: skip
    with pytest.raises(
        InputError, match="a network with lateral context cannot be exported"
    ) as caught:
        export(run, tmp_path / "p.zip", **SMALL)
    assert "\n" not in str(caught.value) and not (tmp_path / "p.zip").exists()


@pytest.mark.usefixtures("light")
def test_a_structures_name_that_the_format_forbids(tmp_path: Path) -> None:
    files = structure_files(tmp_path / "images", ["ER v1.2", "MT"], (100, 100))
    run = make_run(tmp_path / "run", files)
    with pytest.raises(InputError, match=r"^name: "):
        export(run, tmp_path / "p.zip", **SMALL)
    found = export(run, tmp_path / "p.zip", name="ER and MT", **SMALL)
    described = yaml.safe_load(contents(found)["rdf.yaml"])
    assert described["outputs"][0]["axes"][1]["channel_names"][0] == "ER_v1_2"


@pytest.mark.parametrize("name", ["p.tar", "package"])
def test_an_output_that_is_no_zip(run_folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.zip"):
        export(run_folder, tmp_path / name, **SMALL)


def test_an_existing_output_stays(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_text("mine")
    with pytest.raises(InputError, match="this output exists already"):
        export(run_folder, tmp_path / "p.zip", **SMALL)
    assert (tmp_path / "p.zip").read_text() == "mine"


@pytest.mark.parametrize("missing", ["model.safetensors", "calibration.json"])
def test_an_unfinished_run(run_folder: Path, tmp_path: Path, missing: str) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (run / missing).unlink()
    with pytest.raises(InputError, match="--resume"):
        export(run, tmp_path / "p.zip", **SMALL)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("author: [Ada]", "unknown key author"),
        ("authors: Ada", "authors"),
        ("authors: [{nam: Ada}]", "authors.0"),
        ("maintainers: [{name: Ada}]", "github_user"),
        ("[1]", "YAML mapping"),
    ],
)
def test_a_bad_about_file(run_folder: Path, tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "about.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=word) as caught:
        export(run_folder, tmp_path / "p.zip", about=path, **SMALL)
    assert str(caught.value).startswith(str(path))


def test_test_images_that_are_none(run_folder: Path, tmp_path: Path) -> None:
    import xarray as xr

    tifffile.imwrite(tmp_path / "flat.tif", np.full((100, 100), 7, np.uint16))
    two = np.stack([blobs(0, (100, 100)), blobs(1, (100, 100))]).astype(np.float32)
    write_ome_tiff(
        tmp_path / "two.ome.tif", xr.DataArray(two, dims=("c", "y", "x"), coords={"c": ["a", "b"]})
    )
    for name, word in (("flat.tif", "constant"), ("two.ome.tif", "2 channels")):
        with pytest.raises(InputError, match=word):
            export(run_folder, tmp_path / "p.zip", test_image=tmp_path / name, **SMALL)


@pytest.mark.usefixtures("light")
def test_a_full_disk_leaves_nothing(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        export(run_folder, tmp_path / "p.zip", **SMALL)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the command


@pytest.mark.usefixtures("light")
def test_the_command_takes_a_yaml_file(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "export.yaml"
    config.write_text(f"run: {run_folder}\nsamples: 4\ntile: 96\nabout: {{license: MIT}}\n")
    output = tmp_path / "p.zip"
    code = cli.main(
        ["export", "--config", str(config), "-o", str(output), "--samples", "2", "--quiet"]
    )
    assert code == 0
    assert capsys.readouterr().out == f"{output}\n"
    described = yaml.safe_load(contents(output)["rdf.yaml"])
    assert described["config"]["denoisplit"]["samples"] == 2
    assert described["license"] == "MIT"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["RUN"], "-o PACKAGE.zip"),
        (["-o", "p.zip"], "missing required argument RUN"),
        (["RUN", "-o", "p.zip", "--kind", "other"], "--kind"),
        (["RUN", "-o", "p.zip", "--samples", "1"], "--samples"),
        (["RUN", "-o", "p.zip", "--kind", "fast"], "denoisplit calibrate"),
        (["RUN", "-o", "p.zip", "--interval", "0.9"], "--interval"),
    ],
)
def test_the_commands_refusals(
    run_folder: Path, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(["export", *(str(run_folder) if a == "RUN" else a for a in arguments)])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert word in text


def test_an_unknown_key_of_the_yaml_file(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "export.yaml"
    config.write_text(f"run: {run_folder}\nsample: 4\n")
    assert cli.main(["export", "--config", str(config), "-o", str(tmp_path / "p.zip")]) == 2
    assert (
        "unknown key sample; remove it, or choose from about, halo, interval"
        in capsys.readouterr().err
    )
