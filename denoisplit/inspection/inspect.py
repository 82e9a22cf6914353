"""``denoisplit inspect``: say in a few lines what a file, a run or a package is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config.everyday import INSPECT
from denoisplit.config.options import documented
from denoisplit.errors import InputError
from denoisplit.images import LazyImage, each_of, list_files, open_image
from denoisplit.images.formats.zarr import is_zarr
from denoisplit.images.lengths import warn_of_pixel_sizes
from denoisplit.inspection.images import image_lines, image_record
from denoisplit.inspection.packages import package_lines, package_record
from denoisplit.inspection.runs import run_lines, run_record
from denoisplit.inspection.suitability import suitability, suitability_lines
from denoisplit.jobs.array_input import ImageInMemory
from denoisplit.progress import bar
from denoisplit.run import CONFIG, Run, load

PathLike = str | Path


class Inspection(dict[str, Any]):
    """Record of an image, several images, a run or a package, which prints as lines."""

    @property
    def lines(self) -> list[str]:
        """The record in lines of a name and a text."""
        kinds = {"image": _image_lines, "run": run_lines, "package": package_lines}
        if self["kind"] != "images":
            return kinds[self["kind"]](self)
        return [line for image in self["images"] for line in (*_image_lines(image), "")][:-1]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    __repr__ = __str__


@documented(INSPECT)
def inspect(
    what: Any, *, run: Run | PathLike | None = None, axes: str | None = None, progress: bool = True
) -> Inspection:
    """Say what an image, a run or a package is; nothing in it is executed.

    Noise is estimated from the image itself: its variance by second differences, which is a line in
    the intensity on a camera (`denoisplit.noise_models.photon_transfer`). With ``run``, scale,
    intensities and noise are compared with those of its training, and the middle of the image is
    split in one pass, to see whether it is like them.

    Parameters
    ----------
    {options}

    Returns
    -------
    Inspection
        A dict of plain values, which prints as lines. Its ``kind`` is "image", "images" (several,
        in ``images``), "run" or "package"; what is not known is None.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    single = each_of(what) if isinstance(what, str | Path | list | tuple) else [what]
    if len(single) == 1 and (other := _not_an_image(single[0])) is not None:
        if run is not None:
            raise InputError(
                "only images are compared with a run", where="run", remedy="leave `run` out"
            )
        return Inspection(other)
    against = run if run is None or isinstance(run, Run) else load(run)
    images = [one for entry in single for one in _images(entry, axes)]
    records = []
    with bar("looking at images", len(images)) as moved:
        for number, (name, image) in enumerate(images):
            record = image_record(image, name)
            if against is not None:
                record["suitability"] = suitability(against, image, record)
            records.append(record)
            moved.to(number + 1)
    if len(records) == 1:
        return Inspection(records[0])
    warn_of_pixel_sizes([(record["file"], record["pixel_size_um"]) for record in records])
    return Inspection({"kind": "images", "images": records})


def _not_an_image(what: Any) -> dict[str, Any] | None:
    """Return the record of a run or a package; None if it is neither."""
    if isinstance(what, Run):
        return run_record(what)
    if not isinstance(what, str | Path):
        return None
    path = Path(what)
    if path.is_dir() and (path / CONFIG).is_file() and not is_zarr(path):
        return run_record(path)
    return package_record(path) if path.suffix.lower() == ".zip" else None


def _images(entry: Any, axes: str | None) -> list[tuple[str, LazyImage]]:
    """Return name and image of each file, or of an array; an array has no file.

    Raises
    ------
    InputError
    """
    if not isinstance(entry, str | Path):
        array = ImageInMemory.of(entry, axes, channel=0)
        return [(array.name, array.image)]
    opened = [(str(file), open_image(file)) for file in list_files(entry)]
    for _, image in opened:
        image.check()
    return opened


def _image_lines(record: Mapping[str, Any]) -> list[str]:
    lines = image_lines(record)
    if "suitability" in record:
        lines += suitability_lines(record["suitability"])
    return lines
