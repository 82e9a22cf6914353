"""Damaged files are read or refused in one line; ``make fuzz`` tries more of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_200_damaged_files_do_no_harm() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--cases", "200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    *_, read, refused, traceback, hang, memory, canary, outside = next(
        line for line in done.stdout.splitlines() if line.startswith("all ")
    ).split()
    assert int(read) > 40 and int(refused) > 80
    assert {traceback, hang, memory, canary, outside} == {"0"}
