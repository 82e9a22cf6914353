"""The one error a user can cause: bad input, told in one line."""

from __future__ import annotations

from pathlib import Path

SHORT = 60  # letters of a difference that is told with both values


def difference(name: str, before: object, now: object) -> str:
    """What differs, and both values where they are short."""
    both = f"{name} ({before}, not {now})"
    return both if len(both) < SHORT else name


class InputError(ValueError):
    """Bad input. Its text is one line: where, what was found, what was expected, what to do.

    The command line prints that line and exits with code 2; Python callers catch it as a
    ``ValueError``.

    Parameters
    ----------
    where : str or Path
        The file, folder or setting at fault.
    found, expected, remedy : str
        What came in, what should have, and what the user can do about it.
    """

    def __init__(self, where: str | Path, found: str, expected: str, remedy: str) -> None:
        self.where, self.found, self.expected, self.remedy = str(where), found, expected, remedy
        line = f"{where}: found {found}, expected {expected}; {remedy}"
        super().__init__(" ".join(line.split()))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """So that it comes back whole from another process."""
        return type(self), (self.where, self.found, self.expected, self.remedy)
