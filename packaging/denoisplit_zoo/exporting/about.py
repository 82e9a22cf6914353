"""What a run cannot know of its package: people, licence, words on the data."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from denoisplit.config.yaml_file import read_yaml
from denoisplit.errors import InputError

# what reviewers ask for; left out, the package says so or takes the default
ASKED_FOR = ("authors", "license", "training_data")


# what stands where nothing was said
ANONYMOUS = "Anonymous"
UNDESCRIBED = "Not described by the authors."


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Person(_Frozen):
    """An author. A GitHub name is looked up by everybody who validates the package."""

    name: str
    affiliation: str | None = None
    email: str | None = None
    orcid: str | None = None
    github_user: str | None = None


class Maintainer(_Frozen):
    """Who answers questions on GitHub."""

    github_user: str
    name: str | None = None
    affiliation: str | None = None
    email: str | None = None
    orcid: str | None = None


class About(_Frozen):
    """The user's part of a description; every field may be left out."""

    description: str | None = None
    authors: tuple[Person, ...] = (Person(name=ANONYMOUS),)
    maintainers: tuple[Maintainer, ...] = ()
    license: str = "CC-BY-4.0"  # SPDX
    training_data: str = UNDESCRIBED
    tags: tuple[str, ...] = ()
    git_repo: str | None = None
    version: str = "0.1.0"

    @property
    def missing(self) -> list[str]:
        """What reviewers ask for and was not given."""
        return [name for name in ASKED_FOR if name not in self.model_fields_set]


def read_about(source: About | str | Path | None) -> About:
    """The user's part, from a YAML file if there is one.

    Raises
    ------
    InputError
        For an unknown key or a value that does not fit.
    """
    if source is None:
        return About()
    if isinstance(source, About):
        return source
    values = read_yaml(source)
    try:
        return About.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(About.model_fields)
        if first["type"] == "extra_forbidden":
            raise InputError(
                where=source,
                found=f"unknown key {key}",
                expected=f"some of {known}",
                remedy="correct or remove it",
            ) from None
        raise InputError(
            where=source,
            found=f"{key} = {first['input']!r}",
            expected=first["msg"],
            remedy="correct or remove it",
        ) from None
