"""Standard output and error of the program: closed, full, or of few letters, they end no work."""

from __future__ import annotations

import os
import sys

from denoisplit.errors import InputError, printable


def open_standard_streams() -> None:
    """Open those of the three standard streams that the caller has closed, to nothing.

    Otherwise, the next files that are opened take their places, and messages go into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def write_out(text: str) -> None:
    """Write lines to standard output, with escapes for what it cannot show.

    A reader that has closed it, such as `head`, has seen enough.

    Raises
    ------
    InputError
        If they cannot be written otherwise.
    """
    stream = sys.stdout
    if stream is None:  # closed by the caller of the Python function
        return
    text = "\n".join(map(printable, text.split("\n")))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        raise _not_written(error) from error


def close_standard_streams() -> InputError | None:
    """Write what is left of both streams before the program ends.

    Where that fails, the rest goes to nothing, as Python would complain about it once more.

    Returns
    -------
    InputError or None
        If standard output could not be written although it is open.
    """
    problem = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            if stream is sys.stdout and isinstance(error, OSError):
                problem = None if isinstance(error, BrokenPipeError) else _not_written(error)
            try:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
            except (OSError, ValueError):  # there is no such file
                pass
    return problem


def _not_written(error: OSError) -> InputError:
    problem = f"cannot write ({error.strerror or error})"
    return InputError(problem, where="standard output", remedy="send it elsewhere")
