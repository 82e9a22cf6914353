"""Programs that start at once: children of a process that has imported everything.

``denoisplit``, ``python -c CODE`` and ``python -m MODULE`` take seconds of processor time for their
imports. A server runs them in forked children instead. Tests start them as a `Process`, or put the
folder of the fixture ``programs`` first on the PATH: a program there passes its arguments, folder,
environment and streams to the server.

``bioimageio`` has a server of its own, which has imported the libraries that it needs, but nothing
of bioimageio and denoisplit. Calibrations are those of tests/tiny.py where a test has them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

BIOIMAGEIO = (
    "IPython",
    "dask.array",
    "onnxruntime",
    "pydantic_settings",
    "torch._inductor",
    "xarray",
)
DENOISPLIT = (
    "dask.array",  # imported by xarray
    "denoisplit.cli.main",
    "denoisplit.commands.compare",
    "denoisplit.commands.evaluate",
    "denoisplit.commands.predict",
    "denoisplit.report.page",
    "denoisplit.training",
    "denoisplit.api",
    "denoisplit_zoo",
    "matplotlib.backends.backend_agg",
    "onnxruntime",
    "pytest",
    "scipy.ndimage",
    "torchmetrics.functional.image",
    "zarr",
)
CLIENT = """#!{python} -IS
import json, os, socket, sys
call = {{"name": {name!r}, "arguments": sys.argv[1:], "folder": os.getcwd()}}
call["environment"] = dict(os.environ)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(call).encode() + b"\\n"], [0, 1, 2])
    _, _, code = server.makefile().read().partition("\\n")
code = int(code or 70)
sys.exit(code if code >= 0 else 128 - code)
"""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
TINY = Path(__file__).with_name("tiny.py")


class Ended(NamedTuple):
    """How a command has ended."""

    code: int
    out: str
    err: str


class Process:
    """``denoisplit`` with some arguments, running in a child of the server of `commands`.

    Parameters
    ----------
    folder : Path
        That `commands` serves.
    words : objects
        The arguments.
    largest : int, optional
        Bytes that no file may grow beyond.
    """

    def __init__(self, folder: Path, *words: object, largest: int | None = None) -> None:
        pipes = [os.pipe() for _ in range(2)]
        self._streams = [os.fdopen(pipe[0]) for pipe in pipes]
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(folder / "server"))
        call = {"name": "denoisplit", "arguments": [*map(str, words)], "folder": os.getcwd(),
                "environment": {**os.environ, **ENVIRONMENT}, "largest": largest}  # fmt: skip
        files = [os.open(os.devnull, os.O_RDONLY), *(pipe[1] for pipe in pipes)]
        socket.send_fds(self._server, [json.dumps(call).encode() + b"\n"], files)
        for file in files:
            os.close(file)
        self._answer = self._server.makefile()
        self.pid = int(self._answer.readline())

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something has happened, which must be before the end."""
        end = time.monotonic() + 120
        while not condition():
            ended, _, _ = select.select([self._server], [], [], 0.01)
            assert not ended, "the command has ended before"
            assert time.monotonic() < end

    def end(self) -> Ended:
        """Wait for the end; the code of one that a signal has ended is negative."""
        with self._server, self._answer:
            self._server.settimeout(120)
            code = int(self._answer.readline())
        texts = []
        for stream in self._streams:
            with stream:
                texts.append(stream.read())
        return Ended(code, *texts)


@contextmanager
def commands(folder: Path, *names: str, imported: Sequence[str] = DENOISPLIT) -> Iterator[Path]:
    """Serve ``denoisplit``, ``python`` or ``bioimageio`` during the block, from a folder."""
    address = str(folder / "server")
    for name in names:
        program = folder / name
        program.write_text(CLIENT.format(python=sys.executable, name=name, address=address))
        program.chmod(0o755)
    command = [sys.executable, "-P", __file__, address, *imported]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ENVIRONMENT}
    ) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        try:
            yield folder
        finally:
            server.kill()


def serve(address: str, *imported: str) -> None:
    """Run what clients ask for, until this process is killed."""
    for name in imported:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that collections of children copy no pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the handlers
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = server.accept()
            if not os.fork():
                try:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    server.close()
                    _handle(client)
                finally:  # also if the client was killed
                    os._exit(0)
            client.close()


def _handle(client: socket.socket) -> None:
    """Run a program in a child, and pass its exit code to the client."""
    text, streams, _, _ = socket.recv_fds(client, 65536, 3)
    while not text.endswith(b"\n"):
        text += client.recv(65536)
    process = os.fork()
    if not process:
        client.close()
        _run(json.loads(text), streams)
    client.sendall(f"{process}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    client.sendall(f"{code}\n".encode())


def _run(call: dict[str, Any], streams: list[int]) -> None:
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(call["environment"])
        os.chdir(call["folder"])
        sys.argv = [call["name"], *call["arguments"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        if call.get("largest") is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (call["largest"], call["largest"]))
        code = _ended(call)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended(call: dict[str, Any]) -> int:
    """Run a program in this process; return its exit code."""
    if "matplotlib" in sys.modules and "MPLBACKEND" in os.environ:  # else read on import
        sys.modules["matplotlib"].rcParams["backend"] = os.environ["MPLBACKEND"]
    if "pytest" in sys.modules:  # not in the server of bioimageio
        tiny = runpy.run_path(str(TINY))
        if tiny["LITTLE"] in os.environ:
            tiny["patch_calibrations"](sys.modules["pytest"].MonkeyPatch())
    try:
        if call["name"] == "denoisplit":
            return importlib.import_module("denoisplit.cli.main").main()
        if call["name"] == "bioimageio":
            return importlib.import_module("bioimageio.core.__main__").main() or 0
        option, code, *arguments = call["arguments"]
        sys.argv = ["python", *arguments]
        if option == "-m":
            runpy.run_module(code, run_name="__main__", alter_sys=True)
        else:
            assert option == "-c", option
            exec(code, {"__name__": "__main__"})
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
