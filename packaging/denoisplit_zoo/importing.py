"""``denoisplit import``: a package of ours back to a run folder that predicts the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from denoisplit.atomic import new_folder, write_bytes, write_json
from denoisplit.config import FORMAT_VERSION, RunConfig, parse
from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture
from denoisplit.progress import logger
from denoisplit.run import (
    CALIBRATION,
    CONFIG,
    METRICS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    build_network,
    load,
    load_weights,
    noise_model_path,
    save_config,
    save_weights,
)
from denoisplit_zoo.archive import Contents, read_package

PathLike = str | Path
NETWORK = "network."  # what names of the network's weights begin with in the graph


def import_package(package: PathLike, output: PathLike) -> Run:
    """Make a run folder of a package, of any kind, that `denoisplit_zoo.export` wrote.

    Nothing that lies in the package is executed.

    Parameters
    ----------
    package : path
    output : path
        The run folder, a new one.

    Returns
    -------
    Run
        Predicts what the package predicts. Its images and the course of its training stay behind.

    Raises
    ------
    InputError
        If the file is no package of this project, one of its files was changed, or its parts do
        not fit together; nothing is left half-written.
    """
    output = Path(output)
    if output.exists() or output.is_symlink():
        raise InputError(
            output, "an existing folder or file", "a new run folder", "move it, or choose another"
        )
    contents = read_package(package)
    for name in contents.changed():
        raise InputError(
            f"{package}, {name}", "a changed file (its SHA-256 is another)",
            "the one that the description was written for", "get the package again",
        )  # fmt: skip
    config = _config(contents)
    names = config.settings.names
    with new_folder(output) as draft, _naming(contents.path, draft):
        (draft / NOISE_MODELS).mkdir()
        save_config(draft, config)
        for name in names:
            file = f"noise_model_{name}.npz"
            if file in contents.files:
                write_bytes(noise_model_path(draft, name), contents.files[file])
                GaussianMixture.load(noise_model_path(draft, name))
            elif config.settings.system == "denoisplit":
                raise _lacking(contents, file)
        write_json(draft / CALIBRATION, _json(contents, CALIBRATION))
        if METRICS in contents.files:
            write_json(draft / METRICS, _json(contents, METRICS))
        _write_weights(contents, config, draft)
        load(draft, device="cpu")  # whatever does not fit is found before the folder appears
    logger.info("run: %s", output)
    return load(output)


@contextmanager
def _naming(package: Path, draft: Path) -> Iterator[None]:
    """Name the file in the package, not where it was unpacked to."""
    try:
        yield
    except InputError as error:
        where = error.where.replace(f"{draft}/", f"{package}, ").replace(str(draft), str(package))
        raise InputError(where, error.found, error.expected, error.remedy) from None


def _write_weights(contents: Contents, config: RunConfig, draft: Path) -> None:
    """The network's part of the state dict."""
    source = contents.description["weights"]["pytorch_state_dict"]["source"]
    where = f"{contents.path}, {source}"
    try:
        state = torch.load(io.BytesIO(_file(contents, source)), weights_only=True)
        state = {key.removeprefix(NETWORK): v for key, v in state.items() if NETWORK in key}
    except InputError:
        raise
    except Exception as error:  # of pickle, zipfile and torch, which have errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            where, f"no plain state dict ({reason})", "tensors by their names", "export it again"
        ) from None
    model = build_network(config.settings)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise InputError(
            where, f"the weights of another network ({detail})", f"those of {CONFIG}",
            "export it again",
        ) from None  # fmt: skip
    save_weights(model, draft / WEIGHTS)
    load_weights(model, draft / WEIGHTS)


def _config(contents: Contents) -> RunConfig:
    where = f"{contents.path}, {CONFIG}"
    try:
        values = yaml.safe_load(_file(contents, CONFIG))
    except yaml.YAMLError as error:
        raise InputError(
            where, f"no YAML ({str(error).splitlines()[0]})", "a configuration", "export it again"
        ) from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            where, f"format version {version}", f"version {FORMAT_VERSION}",
            "read it with the release of denoisplit that wrote it",
        )  # fmt: skip
    return parse(RunConfig, values, where)


def _json(contents: Contents, name: str) -> dict[str, Any]:
    try:
        value = json.loads(_file(contents, name))
    except ValueError as error:
        raise InputError(
            f"{contents.path}, {name}", f"no JSON ({error})", "a JSON object", "export it again"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{contents.path}, {name}", "no JSON object", "a JSON object", "export it again"
        )
    return value


def _file(contents: Contents, name: str) -> bytes:
    if name not in contents.files:
        raise _lacking(contents, name)
    return contents.files[name]


def _lacking(contents: Contents, name: str) -> InputError:
    return InputError(
        contents.path, f"a package without {name}", "one that `denoisplit export` wrote",
        "get the package again",
    )  # fmt: skip
