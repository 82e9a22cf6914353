"""The command line: parse, call, print. Heavy modules are imported when a command runs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from denoisplit.cli.parser import EXIT_BAD_INPUT, build_parser
from denoisplit.errors import InputError
from denoisplit.machine.memory import keep_freed_memory

EXIT_FAILED = 1  # a program that was called, and not the user
EXIT_INTERRUPTED = 130
GO_ON = {
    "train": "--resume goes on",
    "predict": "the same call with --resume goes on",
    **dict.fromkeys(("compare", "reproduce", "demo"), "the same call goes on"),
}
# with no other option than these, settings that do not fit are those of the YAML file
NO_SETTINGS = {"config", "structures", "output", "resume"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 for bad input told in one line."""
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    name = given.pop("command")
    _log(quiet=given.pop("quiet", False))
    keep_freed_memory()
    config, said = given.get("config"), {key for key, value in given.items() if value}
    try:
        return _COMMANDS[name](_with_config(given, name)) or 0
    except InputError as error:
        if config and error.where == "settings" and not said - NO_SETTINGS:
            error = error.replace(where=config)
        sys.stderr.write(f"denoisplit {name}: error: {error}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        output = given.get("output")
        more = f"; {GO_ON[name]}" if name in GO_ON and output and Path(output).is_dir() else ""
        sys.stderr.write(f"denoisplit {name}: interrupted{more}\n")
        return EXIT_INTERRUPTED


def _log(*, quiet: bool) -> None:
    """Messages go to standard error, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("denoisplit")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.WARNING if quiet else logging.INFO)


def _with_config(given: dict[str, Any], name: str) -> dict[str, Any]:
    """Options of the YAML file under those of the command line."""
    path = given.pop("config", None)
    given = {key: value for key, value in given.items() if value not in (None, [])}
    if path is None:
        return given
    from denoisplit.cli.yaml_options import from_yaml

    function: Callable[..., Any] | None = None
    if name == "export":
        from denoisplit_zoo import export as function
    return {**from_yaml(path, name, function), **given}


def _need(options: dict[str, Any], command: str, **needed: str) -> None:
    for key, flag in needed.items():
        if key not in options:
            raise InputError(
                where=command,
                found=f"no {flag}",
                expected=f"{flag} on the command line or in the YAML file",
                remedy="give it",
            )


def _train(options: dict[str, Any]) -> None:
    _need(options, "train", output="-o RUN")
    if not options.get("resume"):
        _need(options, "train", structures="--structure NAME FILES")
    from denoisplit.commands.train import train
    from denoisplit.files.json_file import read_json
    from denoisplit.machine.distributed import team
    from denoisplit.report.tables import metrics_table
    from denoisplit.run import METRICS

    run = train(**options)
    if not team().leads:
        return
    sys.stdout.write(metrics_table(read_json(run.path / METRICS)))
    sys.stdout.write(f"run: {run.path}\n")


def _predict(options: dict[str, Any]) -> None:
    _need(options, "predict", run="RUN", files="FILES", output="-o DIR")
    from denoisplit.commands.predict import predict

    for path in predict(**options):
        sys.stdout.write(f"{path}\n")


def _evaluate(options: dict[str, Any]) -> None:
    _need(options, "evaluate", run="RUN")
    if "mixed" not in options:
        _need(options, "evaluate", structures="--structure NAME FILES or --mixed FILES")
    as_json = options.pop("json", False)
    from denoisplit.commands.evaluate import evaluate
    from denoisplit.report.tables import metrics_table

    found = evaluate(**options)
    text = f"{metrics_table(found)}compared with: {found['reference']}\n"
    sys.stdout.write(json.dumps(found) + "\n" if as_json else text)


def _superpose(options: dict[str, Any]) -> None:
    _need(options, "superpose", structures="--structure NAME FILES", output="-o FILES")
    from denoisplit.commands.superpose import superpose

    for path in superpose(**options):
        sys.stdout.write(f"{path}\n")


def _fit_noise_model(options: dict[str, Any]) -> None:
    _need(options, "noise-model fit", output="-o MODEL.npz")
    as_json = options.pop("json", False)
    from denoisplit.commands.noise_model import fit_noise_model

    fit = fit_noise_model(**options)
    text = "\n".join([*fit.quality.verdict(), f"noise model: {fit.path}", f"page: {fit.page}"])
    sys.stdout.write((json.dumps(fit.as_dict()) if as_json else text) + "\n")


def _reproduce(options: dict[str, Any]) -> None:
    if not options.get("dry_run"):
        _need(options, "reproduce", output="-o DIR")
    from denoisplit.reproduction.reproduce import reproduce

    output = options.setdefault("output", "")
    sys.stdout.write(reproduce(**options))
    if output:
        sys.stdout.write(f"results: {output}\n")


def _check_data(options: dict[str, Any]) -> None:
    from denoisplit.reproduction.tasks import availability

    sys.stdout.write(availability(Path(options["folder"])))


def _compare(options: dict[str, Any]) -> None:
    _need(options, "compare", structures="--structure NAME FILES", output="-o DIR")
    from denoisplit.commands.compare import PAGE, compare

    text = compare(**options).text
    sys.stdout.write(f"{text}pictures: {options['output']}/{PAGE}\n")


def _figure(options: dict[str, Any]) -> None:
    _need(options, "figure", output="-o FILE")
    from denoisplit.reproduction.figure import figure

    if "crop" in options:
        options["crop"] = tuple(options["crop"])
    sys.stdout.write(f"{figure(**options)}\n")


def _export(options: dict[str, Any]) -> None:
    _need(options, "export", run="RUN", output="-o PACKAGE.zip")
    from denoisplit_zoo import export

    sys.stdout.write(f"{export(**options)}\n")


def _check(options: dict[str, Any]) -> int:
    _need(options, "check", package="PACKAGE.zip")
    from denoisplit_zoo import check

    checked = check(**options)
    sys.stdout.write(checked.text)
    return 0 if checked.passed else EXIT_FAILED


def _import(options: dict[str, Any]) -> None:
    _need(options, "import", package="PACKAGE.zip", output="-o RUN")
    from denoisplit_zoo import import_package

    sys.stdout.write(f"{import_package(**options).path}\n")


def _demo(options: dict[str, Any]) -> int:
    from denoisplit_zoo.demo import demo

    made = demo(**options)
    sys.stdout.write(made.text)
    if made.passed:
        return 0
    sys.stderr.write("denoisplit demo: error: bioimageio's test of the package failed\n")
    return EXIT_FAILED


_COMMANDS: dict[str, Callable[[dict[str, Any]], int | None]] = {
    "train": _train,
    "predict": _predict,
    "evaluate": _evaluate,
    "superpose": _superpose,
    "noise-model fit": _fit_noise_model,
    "reproduce": _reproduce,
    "data check": _check_data,
    "compare": _compare,
    "figure": _figure,
    "export": _export,
    "check": _check,
    "import": _import,
    "demo": _demo,
}
