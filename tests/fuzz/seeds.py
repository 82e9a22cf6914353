"""Small valid files of every kind that the program reads, in one folder."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import tifffile
import torch
import xarray as xr
import yaml
import zarr
from denoisplit_zoo import About, export
from PIL import Image

from denoisplit.config.settings import settings_from
from denoisplit.data.simulation import simulate
from denoisplit.files.json_file import write_json
from denoisplit.images import ImageFile, write_ome_tiff
from denoisplit.images.formats.zarr_write import create_ome_zarr, writable_array
from denoisplit.jobs import job as jobs
from denoisplit.jobs.alarm import BEFORE, BLURRED, UNLIKE, Alarm
from denoisplit.jobs.alarm_file import ALARM
from denoisplit.jobs.tile_statistics import SIDE, Units, tile_statistics
from denoisplit.run import CHECKPOINTS, build_network, load

from ..images import vendor_files
from ..packaging.conftest import ABOUT, make_run, structure_files

SHAPE = (2, 40, 48)
NAMES = ("ER", "MT")
NETWORK = {"filters": 8, "latents": 4, "levels": 2, "patch": 32}
SETTINGS: dict[str, Any] = {
    "preset": "small",
    "structures": [{"name": name, "files": [f"{name}.tif"]} for name in NAMES],
    "network": NETWORK,
    "training": {"max_steps": 4, "batch": 2, "learning_rate": 1e-3},
    "data": {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0},
}


def make(folder: Path) -> None:
    """Make all files; those of one kind are in one folder."""
    for kind, write in (
        ("tiff", _tiffs),
        ("mrc", _mrcs),
        ("zarr", _zarrs),
        ("text", _texts),
        ("microscope", _microscope),
    ):
        (folder / kind).mkdir(parents=True)
        write(folder / kind)
    _run(folder)
    (folder / "package").mkdir()
    options = {"tile": 96, "halo": 32, "kind": "fast"}
    about = About.model_validate(ABOUT)
    export(folder / "run", folder / "package" / "package.zip", about=about, **options)
    (folder / "complete").touch()


def _microscope(folder: Path) -> None:
    stack = _pixels()
    vendor_files.nd2(folder / "plain.nd2", stack, "zyx")
    vendor_files.nd2(folder / "zlib.nd2", stack, "cyx", compression=0)
    vendor_files.czi(folder / "plain.czi", stack, "zyx")
    vendor_files.czi(folder / "zstd.czi", stack, "cyx", compression=6)
    vendor_files.lif(folder / "plain.lif", {"one": (stack, "zyx")})
    Image.fromarray(stack[0]).save(folder / "grey.png")


def _pixels(dtype: str = "uint16") -> Any:
    return np.random.default_rng(1).integers(50, 4000, SHAPE).astype(dtype)


def _tiffs(folder: Path) -> None:
    pixels = _pixels()
    tifffile.imwrite(folder / "plain.tif", pixels, photometric="minisblack")
    tifffile.imwrite(folder / "big.tif", pixels, bigtiff=True, byteorder=">", compression="zlib")
    tifffile.imwrite(folder / "tiled.tif", pixels, tile=(16, 16), compression="lzw", predictor=True)
    tifffile.imwrite(folder / "packed.tif", pixels.astype("uint8"), compression="packbits")
    metadata = {"axes": "ZYX", "spacing": 0.5, "unit": "um", "Labels": ["a", "b"]}
    imagej = {"imagej": True, "resolution": (4, 4), "metadata": metadata}
    tifffile.imwrite(folder / "imagej.tif", pixels, **imagej)
    image = xr.DataArray(pixels.astype("float32"), dims=("t", "y", "x"))
    image.attrs["pixel_size_um"] = {"y": 0.1, "x": 0.1}
    write_ome_tiff(folder / "ours.ome.tif", image)
    channels = {"axes": "CYX", "Channel": {"Name": list(NAMES)}, "PhysicalSizeX": 0.1}
    tifffile.imwrite(folder / "theirs.ome.tif", pixels, metadata=channels, compression="zlib")
    with tifffile.TiffWriter(folder / "pyramid.tif") as tif:
        tif.write(pixels[0], subifds=1, metadata=None)
        tif.write(pixels[0, ::2, ::2], subfiletype=1, metadata=None)


def _mrcs(folder: Path) -> None:
    for dtype in ("int16", "float32", "uint16"):
        with mrcfile.new(folder / f"{dtype}.mrc") as mrc:
            mrc.set_data(_pixels(dtype))
            mrc.voxel_size = 1000.0


def _zarrs(folder: Path) -> None:
    pixels = _pixels()
    from numcodecs import BZ2, LZ4, LZMA, Blosc, Delta, Zlib
    from zarr.codecs import GzipCodec, ZstdCodec

    forms: dict[str, dict[str, Any]] = {
        "blosc": {"zarr_format": 2, "compressors": Blosc()},
        "plain": {"zarr_format": 2, "compressors": None},
        "zstd": {"zarr_format": 3, "compressors": ZstdCodec(), "dimension_names": ("z", "y", "x")},
        "gzip": {"zarr_format": 3, "compressors": GzipCodec()},
        "shards": {"zarr_format": 3, "shards": (2, 40, 48)},
    }
    for name, form in forms.items():
        path, chunks = str(folder / f"{name}.zarr"), (1, 20, 24)
        zarr.create_array(path, shape=SHAPE, chunks=chunks, dtype="uint16", **form)[:] = pixels

    for codec in (BZ2(), LZ4(), LZMA(), Zlib()):
        path = str(folder / f"{codec.codec_id}.zarr")
        form = {"zarr_format": 2, "compressors": codec, "filters": [Delta(dtype="uint16")]}
        zarr.create_array(path, shape=SHAPE, chunks=chunks, dtype="uint16", **form)[:] = pixels
    sizes = {"t": 2, "c": 1, "y": 40, "x": 48}
    path = folder / "ours.ome.zarr"
    create_ome_zarr(path, sizes, channels=("mixed",), chunk=(32, 32), pixel_size_um={"y": 0.1})
    writable_array(path)[:] = pixels[:, None].astype("float32")


def _texts(folder: Path) -> None:
    settings = {k: v for k, v in SETTINGS.items() if k != "structures"}
    options = settings | {"structures": {name: [f"{name}.tif"] for name in NAMES}}
    for name, values in (("settings", SETTINGS), ("options", options), ("about", ABOUT)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def _run(folder: Path) -> None:
    """Write a run with all that a run can have, and a job that was interrupted."""
    files = structure_files(folder / "images", NAMES, (150, 160))
    run = make_run(folder / "run", files, network=NETWORK, pixel_size_um=0.1, error_map=True)
    write_json(run / ALARM, _alarm().as_dict())
    columns = [
        "epoch",
        "step",
        "train_loss",
        "train_data",
        "train_kl",
        "val_loss",
        "val_data",
        "val_kl",
        "seconds",
    ]
    with (run / "history.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(columns)
        rows.writerows([k + 1, 100 * k, 2.5, 2, 0.5, 2.25, 2, 0.25, 1.5] for k in range(3))
    (run / CHECKPOINTS).mkdir()
    network = build_network(settings_from(SETTINGS))
    state = {"state_dict": network.state_dict(), "epoch": 1, "global_step": 4, "loops": {"a": [1]}}
    torch.save(state, run / CHECKPOINTS / "last.ckpt")
    (folder / "job").mkdir()
    image = folder / "job" / "mixed.ome.zarr"
    sizes = {"t": 1, "c": 1, "y": 40, "x": 48}
    create_ome_zarr(image, sizes, channels=("mixed",), chunk=(32, 32), pixel_size_um={})
    frames = [simulate(kind, frames=1, size=48, seed=1)[0, :40] for kind in ("mesh", "puncta")]
    writable_array(image)[:] = np.float32(sum(frames))[None, None]
    _interrupted(run, image, folder / "job")


def _interrupted(run: Path, image: Path, folder: Path) -> None:
    from denoisplit.jobs.inputs import plan_image
    from denoisplit.jobs.results import result_paths
    from denoisplit.prediction.autotune import Form
    from denoisplit.prediction.sampling import Sampling

    loaded = load(run, device="cpu")
    sampling = Sampling(0, quantum=loaded.config.facts.content_quantum)
    plan = jobs.Plan(loaded, sampling, None, 32, 32, Form(), resume=False)
    (results,) = result_paths(folder / "out", [ImageFile(image)], ("split", "std"))
    (folder / "out").mkdir()
    jobs.start_job(plan, plan_image(loaded, ImageFile(image), results))


def _alarm() -> Alarm:
    flat = np.ones(2)
    nodes = np.array([[0.0, 300.0]] * 2)
    units = Units(1.0, 0.0, nodes, nodes + 25.0, 25 * flat, 20 * flat)
    blank = np.zeros((1, 3, SIDE, SIDE), dtype=np.float32)
    count = tile_statistics(blank[:, 0], blank[:, 1:], units).shape[1]
    names = (*BEFORE, BLURRED, UNLIKE)
    ones, scores = np.ones(count), np.ones(len(names))
    directions, precision = np.ones((1, count)), np.eye(count)
    return Alarm("sum", names, units, 5.0, 50.0, ones, ones, directions, precision, *[scores] * 4)


def copied(seed: Path, to: Path) -> Path:
    """Copy a file or folder."""
    to.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(seed, to) if seed.is_dir() else shutil.copy(seed, to))
