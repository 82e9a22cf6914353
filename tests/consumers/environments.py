"""Environments of the programs that use packages: of Python, and of Node.js."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from denoisplit_zoo.checking import in_openvino

CLIENTS = Path(__file__).with_name("clients")
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
TORCH = f"torch=={torch.__version__.partition('+')[0]}"
PYDANTIC = "pydantic<2.14"  # bioimageio.spec up to 0.5.12 cannot use newer ones
NEWEST = "0.11.0"  # of bioimageio.core, when this was written


class Client(NamedTuple):
    """A program that uses packages, and what it needs."""

    name: str
    script: Path
    requirements: tuple[str, ...]  # for pip, or for npm if the script is for Node.js
    formats: tuple[str, ...] = FORMATS[-1:]
    no_dependencies: tuple[str, ...] = ()  # installed without what they require
    integers: bool = True  # whether it computes with 64-bit integers

    @property
    def folder(self) -> str:
        """The name of the folder of its environment, and of its answers."""
        return re.sub(r"[^\w.]+", "-", self.name)


def core(version: str, *onnxruntime: str) -> Client:
    """Return a version of bioimageio.core, with a version of onnxruntime and what goes with it."""
    requirements = (f"bioimageio.core=={version}", *onnxruntime, TORCH, PYDANTIC, "onnx")
    name = f"core {version}, {onnxruntime[0].replace('==', ' ')}"
    return Client(name, CLIENTS / "in_bioimageio.py", requirements, FORMATS)


NODE = CLIENTS / "in_node.js"
KNOWN = (
    core(NEWEST, "onnxruntime==1.32.0"),
    core("0.10.4", "onnxruntime==1.20.1", "numpy<2"),  # as the test service of the zoo
    # with the oldest for Python 3.11, which was built against the former numpy
    core("0.10.2", "onnxruntime==1.15.1", "numpy<2"),  # the core of ilastik's server
    Client(
        "BiaPy 3.7.1",
        CLIENTS / "in_biapy.py",
        ("bioimageio.core==0.9.6", TORCH, PYDANTIC, "torchinfo", "yacs", "requests"),
        ("pytorch_state_dict",),
        no_dependencies=("biapy==3.7.1",),
    ),
    # of deepImageJ; newer versions of Python cannot install it, but npm has the same library
    Client("onnxruntime-node 1.12.1", NODE, ("onnxruntime-node@1.12.1",)),
    Client("onnxruntime-web 1.30.0", NODE, ("onnxruntime-web@1.30.0",)),
    Client(
        "OpenVINO 2026.4.1",
        Path(in_openvino.__file__),
        ("openvino==2026.4.1",),
        integers=False,
    ),
)


def newer_core() -> tuple[Client, ...]:
    """Return the newest bioimageio.core on PyPI, if PyPI answers and it is newer than the known."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "bioimageio.core"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    version = re.search(r"bioimageio\.core \(([\d.]+)\)", asked.stdout)
    if version is None:
        return ()
    newest, known = (tuple(map(int, text.split("."))) for text in (version[1], NEWEST))
    return (core(version[1], "onnxruntime"),) if newest > known else ()


def command(client: Client, folder: Path) -> list[str] | None:
    """Return the command of a client without its arguments; None without Node.js.

    Its environment is created in ``folder`` if it is missing.
    """
    place = folder / client.folder
    node = client.script.suffix == ".js"
    npm = shutil.which("npm")
    if node and (npm is None or shutil.which("node") is None):
        return None
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        if node:
            place.mkdir()
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
            subprocess.run([npm, "install", *options, *client.requirements], cwd=place, check=True)
        else:
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, *client.requirements], check=True)
            if client.no_dependencies:
                subprocess.run([*install, "--no-deps", *client.no_dependencies], check=True)
        (place / "ready").touch()
    if node:
        library = place / "node_modules" / client.requirements[0].partition("@")[0]
        return ["node", str(client.script), str(library)]
    return [str(python), "-P", str(client.script)]
