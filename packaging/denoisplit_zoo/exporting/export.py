"""``denoisplit export``: write a run as a package for bioimage.io and its consumers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.commands import EXPORT
from denoisplit.config.options import documented
from denoisplit.config.seeds import check_seed
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.files.atomic import drop_drafts, write_bytes
from denoisplit.files.folder_lock import output_lock
from denoisplit.files.outputs import check_new, check_space
from denoisplit.prediction.halo import PACKAGE_TOLERANCE, sufficient_halo
from denoisplit.progress import logger
from denoisplit.run import WEIGHTS, Run, load
from denoisplit_zoo.archive import DESCRIPTION, MOST_BYTES, pack, validate
from denoisplit_zoo.attachment import ATTACHMENT, attachment
from denoisplit_zoo.exporting import weights
from denoisplit_zoo.exporting.about import About, read_about
from denoisplit_zoo.exporting.cover import cover
from denoisplit_zoo.exporting.description import Package, card, description
from denoisplit_zoo.exporting.example_image import held_out_example_image, read_example_image
from denoisplit_zoo.exporting.graph import Splitter
from denoisplit_zoo.exporting.kinds import COVERAGE, PackageKind, channel_names, package_kind
from denoisplit_zoo.exporting.source_file import architecture_source
from denoisplit_zoo.schema import MOST_SAMPLES

PathLike = str | Path
Array = npt.NDArray[np.float32]

FORMATS = 3  # of the weights
SMALLEST_TILE = 256  # px, by default
MISSING_METADATA = (
    "%s: missing metadata: %s; the package names the authors %s and the license %s. "
    "Provide a YAML file with `about` before you publish it"
)


@takes_arrays("test_image")
@documented(EXPORT)
def export(
    run: Run | PathLike,
    output: PathLike,
    *,
    kind: str = "mmse",
    samples: int | None = None,
    tile: int | None = None,
    halo: int | None = None,
    seed: int = 0,
    interval: float | None = None,
    name: str | None = None,
    about: About | Mapping[str, Any] | PathLike | None = None,
    test_image: PathLike | None = None,
) -> Path:
    """Write a run as a bioimage.io model package.

    Tile and halo are multiples of the network's total stride, and the tile is larger than twice the
    halo; by default it is 256 px, doubled as often as the halo requires. The default halo is
    measured on the trained network (`denoisplit.prediction.halo.PACKAGE_TOLERANCE`).

    Parameters
    ----------
    {options}

    Returns
    -------
    Path
        The package.

    Raises
    ------
    InputError
        If the run is not finished, an option is invalid, the kind needs an error map and the run
        has none, the format does not allow the name, or the output exists or is being written; no
        partial file is left.
    """
    output = Path(output)
    if output.suffix.lower() != ".zip":
        raise InputError("the name of a package must end with .zip", where=output)
    with output_lock(output):  # also removes what a killed call has left
        check_new(output)
    check_seed(seed)
    about_file, about = about, read_about(about)
    run = run if isinstance(run, Run) else load(run, device="cpu")
    check_space(output, FORMATS * (run.path / WEIGHTS).stat().st_size)
    if not run.model.supports_tiling:
        raise InputError(
            "a network with lateral context cannot be exported: it needs the whole frame, and the "
            "consumers of packages pass tiles",
            where=run.path,
            remedy="train a run of the system denoisplit or altered_musplit",
        )
    of_kind = package_kind(kind, run)
    samples = _checked_samples(kind, of_kind, samples)
    coverage = _checked_coverage(of_kind, interval)
    halo = run.config.settings.prediction.halo if halo is None else halo
    if halo is None and of_kind.error_map:
        halo = run.measured_halo(PACKAGE_TOLERANCE)
    elif halo is None:
        halo = sufficient_halo(run.halo_errors, PACKAGE_TOLERANCE)
    if tile is None:
        tile = tile_for(halo)
    _check_tiling(run, tile, halo)
    label = " ".join(
        [
            kind,
            *([f"{100 * coverage:g}"] if coverage not in (None, COVERAGE) else []),
            *([f"seed {seed}"] if of_kind.sampled and seed else []),
        ]
    )
    name, nickname = _names(run, name, label)
    channels = channel_names(kind, run.names, samples)
    arguments = weights.graph_arguments(
        run, samples=samples, seed=seed, kind=kind, coverage=coverage or COVERAGE
    )
    if test_image:
        example = read_example_image(test_image, tile)
    else:
        example = held_out_example_image(run, tile)
    with output_lock(output):
        check_new(output)
        drop_drafts(output)
        graph = weights.build_graph(run, arguments, kind)
        image = torch.from_numpy(example.image)[None, None]
        with torch.inference_mode():
            split: Array = graph(image).numpy()
        pixel_size: Mapping[str, float] = run.config.facts.pixel_size_um
        if about.pixel_size_um is not None:
            pixel_size = dict.fromkeys("yx", about.pixel_size_um)
        package = Package(
            run,
            name,
            nickname,
            about,
            kind,
            coverage,
            arguments,
            channels,
            tile,
            halo,
            example,
            split,
            _tile_error(graph, example.image, split, halo),
            pixel_size,
        )
        logger.info("exporting state dict, TorchScript and ONNX")
        contents = {
            "README.md": card(package).encode(),
            "cover.png": cover(
                example.image,
                split[0, : len(run.names)],
                run.names,
                pixel_size.get("x"),
                package.errors,
            ),
            "test_input.npy": _npy(image.numpy()),
            "test_output.npy": _npy(split),
            "sample_input.tif": _tiff(example.image, pixel_size),
            "architecture.py": architecture_source().encode(),
            "weights.pt": weights.state_dict(graph),
            "weights_torchscript.pt": weights.torchscript(graph),
            "weights.onnx": weights.onnx(graph),
            ATTACHMENT: attachment(run),
        }
        contents[DESCRIPTION] = description(package, contents).encode()
        size = sum(map(len, contents.values()))
        if size > MOST_BYTES:
            problem = f"the files of this package have {size} bytes, more than {MOST_BYTES}"
            raise InputError(
                problem, where=output, remedy="choose a smaller `tile` or fewer `samples`"
            )
        validate(contents, about_file if isinstance(about_file, str | Path) else output)
        write_bytes(output, pack(contents))
    if about.missing:
        missing, authors = ", ".join(about.missing), ", ".join(a.name for a in about.authors)
        logger.warning(MISSING_METADATA, output, missing, authors, about.license)
    return output


def _checked_samples(kind: str, of_kind: PackageKind, samples: int | None) -> int:
    """Return the number of samples, by default that of the kind."""
    if not of_kind.sampled:
        if samples:
            problem = f"a package of kind {kind} draws no samples"
            raise InputError(problem, where="samples", remedy="leave this out")
        return 0
    least = of_kind.min_samples
    samples = of_kind.samples if samples is None else samples
    if samples < least:
        reason = ", since one sample has no standard deviation" if samples == 1 else ""
        problem = f"the number must be {least} or more, not {samples}{reason}"
        raise InputError(problem, where="samples")
    if samples > MOST_SAMPLES:
        problem = f"the number must be {MOST_SAMPLES} or less, not {samples}"
        raise InputError(problem, where="samples")
    return samples


def _checked_coverage(of_kind: PackageKind, interval: float | None) -> float | None:
    """Return the coverage of the intervals, if packages of this kind have any."""
    if of_kind.interval:
        return COVERAGE if interval is None else interval
    if interval is not None:
        problem = "only packages of kind interval have intervals"
        raise InputError(problem, where="interval", remedy="leave this out, or set `kind`")
    return None


def tile_for(halo: int) -> int:
    """Return the smallest tile, doubled from 256 px, that keeps at least a quarter of its side."""
    tile = SMALLEST_TILE
    while tile - 2 * halo < tile // 4:
        tile *= 2
    return tile


def _check_tiling(run: Run, tile: int, halo: int) -> None:
    stride = run.model.stride
    multiple = f"a multiple of the network's total stride, {stride} px"
    if halo < stride or halo % stride:
        raise InputError(f"the halo must be {multiple}, not {halo} px", where="halo")
    if tile % stride or tile <= 2 * halo:
        limit = f"{multiple}, and larger than twice the halo of {halo} px"
        raise InputError(f"the tile must be {limit}, not {tile} px", where="tile")


def _names(run: Run, given: str | None, label: str) -> tuple[str, str]:
    """Return name and nickname, which tell the packages of one run apart by kind and seed."""
    title = SYSTEMS[run.config.settings.system].title
    name = f"{title} {' + '.join(run.names)} ({label})" if given is None else given
    if not re.fullmatch(r"[A-Za-z0-9_+\- ()]{5,128}", name):
        raise InputError(
            f"the package cannot be named {name!r}: the format allows 5 to 128 letters, digits, "
            "blanks and _+-()",
            where="name",
            remedy="choose another name",
        )
    words = name if given is None else f"{name} {label}"
    return name, re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _tile_error(graph: Splitter, image: Array, split: Array, halo: int) -> float:
    """Return the largest difference of two tiles from one pass, as a share of the image's range.

    The image (N, N), continued by reflection, is cut at a multiple of the total stride; its output
    ``split`` is that of the first tile.
    """
    side, start = len(image), len(image) - 2 * halo  # px; start of the second tile
    wide = torch.from_numpy(np.pad(image, ((0, 0), (0, start)), mode="reflect"))[None, None]
    with torch.inference_mode():
        one_pass, second = graph(wide).numpy(), graph(wide[..., start:]).numpy()
    first = np.abs(split - one_pass[..., :side])[..., : side - halo]
    rest = np.abs(second - one_pass[..., start:])[..., halo:]
    return float(max(first.max(), rest.max()) / np.ptp(image))


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _tiff(image: npt.NDArray[np.float32], pixel_size_um: Mapping[str, float]) -> bytes:
    """Encode an image (Y, X) as an ImageJ TIFF."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"metadata": {"axes": "YX"}}
    if {"y", "x"} <= pixel_size_um.keys():
        options["metadata"]["unit"] = "um"
        options["resolution"] = (1 / pixel_size_um["x"], 1 / pixel_size_um["y"])
    tifffile.imwrite(stream, image, imagej=True, photometric="minisblack", **options)
    return stream.getvalue()
