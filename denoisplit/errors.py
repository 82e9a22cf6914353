"""Error of bad input: one line that names the problem and the remedy."""

from __future__ import annotations

LONGEST_SENTENCE = 600  # letters; a longer one, which quotes long values, loses its middle
LONGEST_DIFFERENCE = 60  # letters; a longer difference is named without its two values


def printable(text: str) -> str:
    """Return a text without what a terminal would obey or cannot show; a file name may hold it.

    Escape sequences, invisible signs and bytes that are no text become backslash escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in text
    )


def _shortened(text: str) -> str:
    half = LONGEST_SENTENCE // 2
    return text if len(text) <= LONGEST_SENTENCE else f"{text[:half]} ... {text[-half:]}"


def difference(name: str, before: object, now: object) -> str:
    """Return the name of a setting that differs, with both values where they are short."""
    both = f"{name} ({before}, not {now})"
    return both if len(both) < LONGEST_DIFFERENCE else name


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class InputError(ValueError):
    """Bad input, described in one line: where it is, what is wrong, what to do.

    The command line prints that line and exits with code 2; Python callers catch a ``ValueError``.

    Parameters
    ----------
    problem : str, optional
        A plain sentence, in place of ``found`` and ``expected``.
    where : str, Path or ImageFile
        The file, folder or argument at fault.
    found, expected : str
        What came in, and what should have.
    remedy : str
        What the user can do about it.
    """

    def __init__(
        self,
        problem: str = "",
        *,
        where: object = "",
        found: str = "",
        expected: str = "",
        remedy: str = "",
    ) -> None:
        self.problem, self.where, self.remedy = problem, str(where), remedy
        self.found, self.expected = found, expected
        sentence = problem or f"found {found}, expected {expected}"
        place = f"{printable(self.where)}: " if self.where else ""
        line = place + _shortened(sentence) + (f"; {_shortened(remedy)}" if remedy else "")
        super().__init__(printable(" ".join(line.split())))

    def replace(self, *, where: object = None, remedy: str | None = None) -> InputError:
        """Return the same error at another place, or with another remedy."""
        return InputError(
            self.problem,
            where=self.where if where is None else where,
            found=self.found,
            expected=self.expected,
            remedy=self.remedy if remedy is None else remedy,
        )

    def __reduce__(self) -> tuple[type[InputError], tuple[str], dict[str, str]]:
        """Keep the fields when the error is sent from another process."""
        return type(self), (str(self),), dict(self.__dict__)
