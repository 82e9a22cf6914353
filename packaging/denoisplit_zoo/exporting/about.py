"""Metadata of a package that only its authors know: people, licence, training data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from denoisplit.errors import InputError
from denoisplit.files.yaml_file import read_yaml

ASKED_BY_REVIEWERS = ("authors", "license", "training_data")

# placeholders for metadata that was not given
ANONYMOUS = "Anonymous"
UNDESCRIBED = "Not described by the authors."


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Contact(_Frozen):
    affiliation: str | None = None
    email: str | None = None
    orcid: str | None = None


class Person(_Contact):
    """An author. Whoever validates the package looks up the GitHub name."""

    name: str
    github_user: str | None = None


class Maintainer(_Contact):
    """Somebody who answers questions on GitHub."""

    github_user: str
    name: str | None = None


class Source(_Frozen):
    """A publication or a data set to cite."""

    text: str
    doi: str


class About(_Frozen):
    """Metadata given by the authors; every field is optional."""

    description: str | None = None
    authors: tuple[Person, ...] = (Person(name=ANONYMOUS),)
    maintainers: tuple[Maintainer, ...] = ()
    license: str = "CC-BY-4.0"  # SPDX
    training_data: str = UNDESCRIBED
    microscope: str | None = None
    pixel_size_um: float | None = Field(
        default=None, gt=0, allow_inf_nan=False
    )  # where files have none
    cite: tuple[Source, ...] = ()
    workflow: str | None = None  # what to do with the result
    biases: str | None = None  # of the training images
    packaged_by: tuple[Person, ...] = ()  # by default the authors
    tags: tuple[str, ...] = ()
    git_repo: str | None = None
    version: str = "0.1.0"

    @property
    def missing(self) -> list[str]:
        """Fields that reviewers ask for and that were not given."""
        return [name for name in ASKED_BY_REVIEWERS if name not in self.model_fields_set]


def read_about(source: About | Mapping[str, Any] | str | Path | None) -> About:
    """Read the authors' metadata from a YAML file or a mapping, if there is one.

    Raises
    ------
    InputError
        For an unknown key or an invalid value.
    """
    if source is None:
        return About()
    if isinstance(source, About):
        return source
    where = "about" if isinstance(source, Mapping) else source
    values = source if isinstance(source, Mapping) else read_yaml(source)
    try:
        return About.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            problem = f"unknown key {key}, expected one of {', '.join(About.model_fields)}"
        else:
            problem = f"the value {first['input']!r} of {key} is invalid: {first['msg']}"
        raise InputError(problem, where=where, remedy="correct or remove it") from None
