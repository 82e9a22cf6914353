"""``denoisplit import``: a package of ours back to a run folder that predicts the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.files.atomic import new_folder, write_bytes
from denoisplit.files.json_file import read_json
from denoisplit.files.tensors import read_tensors
from denoisplit.network import VSE
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
    load_config,
    noise_model_path,
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
            where=output,
            found="an existing folder or file",
            expected="a new run folder",
            remedy="move it, or choose another",
        )
    contents = read_package(package)
    for name in contents.changed:
        raise InputError(
            where=f"{package}, {name}",
            found="a changed file (its SHA-256 is another)",
            expected="the one that the description was written for",
            remedy="get the package again",
        )
    with new_folder(output) as draft, _naming(contents.path, draft):
        for name in (CONFIG, CALIBRATION, METRICS):
            if name in contents.files:
                write_bytes(draft / name, contents.files[name])
            elif name != METRICS:
                raise _lacking(contents, name)
        if (draft / METRICS).exists():
            read_json(draft / METRICS)
        config = load_config(draft)
        (draft / NOISE_MODELS).mkdir()
        for name in config.settings.names:
            file = f"noise_model_{name}.npz"
            if file in contents.files:
                write_bytes(noise_model_path(draft, name), contents.files[file])
                GaussianMixture.load(noise_model_path(draft, name))
            elif SYSTEMS[config.settings.system].noise_models:
                raise _lacking(contents, file)
        save_weights(_network(contents, config), draft / WEIGHTS)
        run = load(draft)  # whatever does not fit is found before the folder appears
    logger.info("run: %s", output)
    return replace(run, path=output)


@contextmanager
def _naming(package: Path, draft: Path) -> Iterator[None]:
    """Name the file in the package, not where it was unpacked to."""
    try:
        yield
    except InputError as error:
        where = error.where.replace(f"{draft}/", f"{package}, ").replace(str(draft), str(package))
        raise error.replace(where=where) from None


def _network(contents: Contents, config: RunConfig) -> VSE:
    """With the network's part of the state dict."""
    source = contents.description["weights"]["pytorch_state_dict"]["source"]
    where = f"{contents.path}, {source}"
    if source not in contents.files:
        raise _lacking(contents, source)
    try:
        stored = read_tensors(contents.files[source])
        state = {key.removeprefix(NETWORK): v for key, v in stored.items() if NETWORK in key}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            where=where,
            found=f"no plain state dict ({error})",
            expected="tensors by their names",
            remedy="export it again",
        ) from None
    model = build_network(config.settings)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise InputError(
            where=where,
            found=f"the weights of another network ({detail})",
            expected=f"those of {CONFIG}",
            remedy="export it again",
        ) from None
    return model


def _lacking(contents: Contents, name: str) -> InputError:
    return InputError(
        where=contents.path,
        found=f"a package without {name}",
        expected="one that `denoisplit export` wrote",
        remedy="get the package again",
    )
