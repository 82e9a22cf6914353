"""The package file: a zip archive of named contents, equal bytes for equal contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from denoisplit.errors import InputError

DESCRIPTION = "rdf.yaml"
PACKED = (".npy", ".tif", ".yaml", ".md", ".json", ".py")  # the others are compressed already


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of all files, the description first."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files, key=lambda name: (name != DESCRIPTION, name)):
            entry = zipfile.ZipInfo(name)  # dated 1980
            packed = name.endswith(PACKED)
            entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def validate(archive: bytes, where: str | Path) -> None:
    """Let the format's own library check the description and the files, without network.

    Raises
    ------
    InputError
        With the first complaint.
    """
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        values = yaml.safe_load(opened.read(DESCRIPTION))
        # these would be looked up on the internet
        values.pop("git_repo", None)
        values.pop("maintainers", None)
        for author in values["authors"]:
            author.pop("github_user", None)
        context = ValidationContext(
            root=opened, file_name=DESCRIPTION, perform_io_checks=True,
            log_warnings=False, progressbar=False,
        )  # fmt: skip
        found = build_description(values, context=context)
    if isinstance(found, InvalidDescr):
        error = next(e for detail in found.validation_summary.details for e in detail.errors)
        place = ".".join(str(part) for part in error.loc)
        raise InputError(
            where, f"{place}: {error.msg}", "a description that bioimage.io takes", "correct it"
        )
