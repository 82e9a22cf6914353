"""Programs that start at once: children of a process that has imported everything.

``denoisplit`` and ``python -c CODE`` take seconds of processor time for their imports. Tests that
call dozens of them put the folder of `commands` first on the PATH: a program there passes its
arguments, folder, environment and streams to a server, which runs it in a forked child.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMPORTED = (
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
    "scipy.ndimage",
    "torchmetrics.functional.image",
)
CLIENT = """#!{python} -IS
import json, os, socket, sys
call = {{"name": {name!r}, "arguments": sys.argv[1:], "folder": os.getcwd()}}
call["environment"] = dict(os.environ)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(call).encode() + b"\\n"], [0, 1, 2])
    code = server.recv(16)
sys.exit(int(code or 70))
"""


@contextmanager
def commands(folder: Path) -> Iterator[Path]:
    """Serve ``denoisplit`` and ``python`` during the block, as programs in a folder."""
    address = str(folder / "server")
    for name in ("denoisplit", "python"):
        program = folder / name
        program.write_text(CLIENT.format(python=sys.executable, name=name, address=address))
        program.chmod(0o755)
    command = [sys.executable, __file__, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        try:
            yield folder
        finally:
            server.kill()


def serve(address: str) -> None:
    """Run what clients ask for, until this process is killed."""
    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the handlers
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = server.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _handle(client)
            client.close()


def _handle(client: socket.socket) -> None:
    """Run a program in a child, and pass its exit code to the client; never return."""
    text, streams, _, _ = socket.recv_fds(client, 65536, 3)
    while not text.endswith(b"\n"):
        text += client.recv(65536)
    process = os.fork()
    if not process:
        client.close()
        _run(json.loads(text), streams)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    client.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _run(call: dict[str, Any], streams: list[int]) -> None:
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(call["environment"])
        os.chdir(call["folder"])
        sys.argv = [call["name"], *call["arguments"]]
        code = _ended(call)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended(call: dict[str, Any]) -> int:
    """Run a program in this process; return its exit code."""
    try:
        if call["name"] == "denoisplit":
            return importlib.import_module("denoisplit.cli.main").main()
        option, code = call["arguments"]
        assert option == "-c", option
        exec(code, {"__name__": "__main__"})
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
