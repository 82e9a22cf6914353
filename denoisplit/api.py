"""Interface in Python: runs that split images, and the functions that return one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from denoisplit import run as stored
from denoisplit.commands import calibrate as calibration
from denoisplit.commands import train as training
from denoisplit.config.commands import IMPORT
from denoisplit.config.options import documented
from denoisplit.jobs.array import predict_image

PathLike = str | Path
Parameters = ParamSpec("Parameters")


class Run(stored.Run):
    """Finished run: configuration, network, calibration scalars."""

    predict = predict_image


def _returning_run(function: Callable[Parameters, stored.Run]) -> Callable[Parameters, Run]:
    """Give the run that a function returns its methods."""

    @wraps(function)
    def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Run:
        run = function(*arguments, **options)
        return Run(**{field.name: getattr(run, field.name) for field in fields(run)})

    return call


load = _returning_run(stored.load)
train = _returning_run(training.train)
calibrate = _returning_run(calibration.calibrate)


@_returning_run
@documented(IMPORT)
def import_package(package: PathLike, output: PathLike) -> stored.Run:
    """Make a run folder from a package that `denoisplit.export` wrote.

    Nothing in the package is executed.

    Parameters
    ----------
    {options}

    Returns
    -------
    Run
        A run that predicts what the package predicts.

    Raises
    ------
    InputError
        If the file is not an intact package of this project.
    """
    from denoisplit_zoo import import_package  # which loads the libraries of packages

    return import_package(package, output)
