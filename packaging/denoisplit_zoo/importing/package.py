"""``denoisplit import``: turn a package back into a run folder that predicts the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from denoisplit.config.commands import IMPORT
from denoisplit.config.options import documented
from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.files.atomic import new_folder, write_bytes
from denoisplit.files.json_file import read_json
from denoisplit.files.outputs import check_new
from denoisplit.files.tensors import read_tensors
from denoisplit.jobs.alarm_file import ALARM, read_alarm
from denoisplit.network.error_map import error_map_of
from denoisplit.network.mean_correction import mean_correction_of
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.progress import logger
from denoisplit.run import (
    CALIBRATION,
    CONFIG,
    MEANS,
    METRICS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    build_network,
    load,
    load_config,
    noise_model_path,
    save_error_map,
    save_weights,
)
from denoisplit_zoo.archive import Contents, at, read_package, unusable
from denoisplit_zoo.attachment import ATTACHMENT, run_files
from denoisplit_zoo.exporting.weights import check_sizes

PathLike = str | Path
# prefixes of the network and of the error map in the state dict of a graph
NETWORK, ERROR_MAP = "network.", "error_map."


@documented(IMPORT)
def import_package(package: PathLike, output: PathLike) -> Run:
    """Make a run folder from a package that `denoisplit_zoo.export` wrote.

    Nothing in the package is executed.

    Parameters
    ----------
    {options}

    Returns
    -------
    Run
        A run that predicts what the package predicts. It has no training images and no history,
        and an error map only if the package has one.

    Raises
    ------
    InputError
        If the file is not a package of this project, one of its files was changed, or its parts are
        inconsistent; no partial folder is left.
    """
    output = Path(output)
    check_new(output)
    contents = read_package(package)
    for name in contents.changed:
        raise InputError(
            "this file was changed after the export (another SHA-256)",
            where=f"{package}, {name}",
            remedy="obtain the package again",
        )
    # initial weights of networks are not used
    unchanged = torch.random.fork_rng(devices=[])
    with unchanged, new_folder(output) as draft, _errors_name(contents, draft):
        files = run_files(contents)
        for name in (CONFIG, CALIBRATION, METRICS, ALARM):
            if name in files:
                write_bytes(draft / name, files[name])
            elif name in (CONFIG, CALIBRATION):
                raise _missing(contents, name)
        if (draft / METRICS).exists():
            read_json(draft / METRICS)
        config = load_config(draft)
        (draft / NOISE_MODELS).mkdir()
        for name in config.settings.names:
            path = noise_model_path(draft, name)
            if data := files.get(path.relative_to(draft).as_posix()):
                write_bytes(path, data)
                GaussianMixture.load(path)
            elif SYSTEMS[config.settings.system].noise_models:
                raise _missing(contents, f"the noise model of {name}")
        stored = _state_dict(contents)
        save_weights(_network(stored, config), draft / WEIGHTS)
        if state := stored.part(ERROR_MAP):
            try:
                structures, means = len(config.settings.names), stored.part(NETWORK + MEANS)
                correction = mean_correction_of(means, structures) if means else None
                save_error_map(error_map_of(state, structures), draft, correction)
            except ValueError as error:
                problem = f"the error map is not usable ({error})"
                raise unusable(problem, stored.where) from None
        read_alarm(draft, len(config.settings.names))
        run = load(draft)  # raises if parts are inconsistent, before the folder appears
    logger.info("run: %s", output)
    return replace(run, path=output)


@contextmanager
def _errors_name(contents: Contents, draft: Path) -> Iterator[None]:
    """Name the package in errors, in place of the folder that it is unpacked to."""
    package = f"{contents.path}, "
    try:
        yield
    except InputError as error:
        folder = f"{package}{ATTACHMENT}, " if ATTACHMENT in contents.files else package
        where = error.where.replace(f"{draft}/", folder).replace(str(draft), str(contents.path))
        raise error.replace(where=where) from None


class _StateDict(NamedTuple):
    """State dict of a graph, and where it lies."""

    where: str
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the state dict of a part of the graph."""
        return {
            key.removeprefix(prefix): value
            for key, value in self.tensors.items()
            if key.startswith(prefix)
        }


def _state_dict(contents: Contents) -> _StateDict:
    """Read the state dict of the graph."""
    source = at(contents.description, "weights", "pytorch_state_dict", "source")
    if source is None:
        raise _missing(contents, "the state dict")
    where = f"{contents.path}, {source}"
    if source not in contents.files:
        raise _missing(contents, source)
    try:
        tensors = {str(k): v for k, v in read_tensors(contents.files[source]).items()}
        if not all(torch.is_tensor(value) for value in tensors.values()):
            raise TypeError("it holds more than tensors")
    except (ValueError, AttributeError, TypeError) as error:
        raise unusable(f"this file is not a plain state dict ({error})", where) from None
    return _StateDict(where, tensors)


def _network(stored: _StateDict, config: RunConfig) -> VSE:
    """Return the network with its weights, which are a part of the graph's state dict."""
    weights = stored.part(NETWORK)
    weights = {name: value for name, value in weights.items() if not name.startswith(MEANS)}
    try:
        with torch.device("meta"):  # no memory is used before the sizes are compared
            check_sizes(build_network(config.settings), weights)
    except ValueError as error:
        problem = f"the weights do not belong to the network of {CONFIG} ({error})"
        raise unusable(problem, stored.where) from None
    model = build_network(config.settings)
    model.load_state_dict(weights)
    return model


def _missing(contents: Contents, name: str) -> InputError:
    problem = f"{name} is missing from this package"
    return InputError(problem, where=contents.path, remedy="obtain the package again")
