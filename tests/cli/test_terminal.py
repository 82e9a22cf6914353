"""What the program prints where: into closed, full or simple streams, and names that harm none."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from denoisplit.cli import terminal
from denoisplit.cli.main import main
from denoisplit.cli.terminal import write_out
from denoisplit.errors import InputError, printable
from denoisplit.progress import StandardError, bar, logger

COMMAND = Path(sys.executable).with_name("denoisplit")
ODD = "a\x1b[31mb\nc\udcff\u202e.tif"  # an escape sequence, a line, a byte that is no text, bidi
ODD_SHOWN = r"a\x1b[31mb\nc\udcff\u202e.tif"


def shell(line: str, **environment: str) -> tuple[int, bytes, bytes]:
    """Exit code of the first program of a pipe, and what is printed; names are those of files."""
    done = subprocess.run(
        ["bash", "-c", f"{line}\nexit ${{PIPESTATUS[0]}}"], env=os.environ | environment,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("--help >&-", 0, b""),
        ("--help 2>&-", 0, b""),
        ("predict --help | head -1", 0, b""),
        ("bogus >&- 2>&-", 2, b""),
        ("bogus 2>&1 | true", 2, b""),
        ("bogus 2>/dev/full", 2, b""),
        ("--version <&- >&- 2>&-", 0, b""),
        ("bogus 2>&1 >&- | cat >&2", 2, b"there is no command"),
        ("--version > /dev/full", 2, b"standard output: cannot write (No space left on device)"),
        ("train --help > /dev/full", 2, b"standard output: cannot write (No space left on dev"),
    ],
)
def test_closed_and_full_streams(line: str, code: int, err: bytes) -> None:
    unbuffered = "1" if line.startswith("train") else ""
    ended, _, printed = shell(f"{COMMAND} {line}", PYTHONUNBUFFERED=unbuffered)
    assert b"Traceback" not in printed and b"Exception ignored" not in printed
    assert ended == code and err in printed and printed.count(b"\n") == bool(err), printed


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_do_not_reach_the_terminal_as_they_are(encoding: str) -> None:
    name = "$'aµ\\e[31mb\\nc\\xff\\u202e.tif'"
    ended, out, err = shell(f"{COMMAND} {name}", PYTHONIOENCODING=f"{encoding}:strict")
    assert ended == 2 and out == b""
    assert b"\x1b" not in err and b"Traceback" not in err
    assert err.count(b"\n") == 1 and err.decode(encoding).strip().isprintable()


def test_no_command_hands_names_on(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["predict", ODD, ODD, "-o", ODD],
        ["check", ODD],
        ["superpose", f"--{ODD}"],
        ["figure", "S1", ODD, "-o", f"{ODD}.png"],
        ["import", ODD, "-o", ODD],
    ):
        with suppress(SystemExit):
            assert main(words) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        assert printed.err.strip().isprintable() and r"a\x1b[31mb" in printed.err


def test_every_line_of_output_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("utf-8", "µ ± ok"), ("ascii", r"\xb5 \xb1 ok")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        write_out(f"µ ± ok\n{printable(ODD)}\n\x07\n")
        assert stream.buffer.getvalue().decode(encoding).split("\n") == [  # type: ignore[attr-defined]
            shown, ODD_SHOWN, r"\x07", "",
        ]  # fmt: skip
        stream.detach()
    assert str(InputError("no", where=ODD)) == f"{ODD_SHOWN}: no"
    assert printable("µm 图像 😀") == "µm 图像 😀"


class Broken(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_a_reader_that_left_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError(32, "Broken pipe")))
    write_out("text\n")
    monkeypatch.setattr(sys, "stdout", None)
    write_out("text\n")
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="standard output: cannot write"):
        write_out("text\n")
    assert main(["--version"]) == 2


@pytest.mark.parametrize("stream", [Broken(BrokenPipeError(32, "Broken")), None, io.StringIO()])
def test_bars_and_messages_go_on_without_standard_error(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the last stream is closed."""
    if stream is not None and not isinstance(stream, Broken):
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logger, "level", 0)
    steps = []
    with bar("work", 3) as progress:
        for step in range(3):
            progress.to(step)
            steps.append(step)
    assert StandardError().write("text") == 4 and steps == [0, 1, 2]


def test_closed_streams_are_opened_to_nothing(tmp_path: Path) -> None:
    """Else a result would be opened in their place, and messages would go into it."""
    code = (
        "from denoisplit.cli.terminal import open_standard_streams as o; import os, sys; o();"
        f"f = open({str(tmp_path / 'result')!r}, 'w'); os.write(1, b'noise'); print('noise')"
        "; os.write(2, b'noise'); sys.exit(f.fileno() < 3)"
    )
    assert shell(f'{sys.executable} -c "{code}" >&- 2>&- <&-')[0] == 0
    assert (tmp_path / "result").read_text() == ""
    assert terminal.close_standard_streams() is None
