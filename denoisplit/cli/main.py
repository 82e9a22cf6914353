"""The command line: parse, call, print. Heavy modules are imported when a command runs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

from denoisplit.cli.parser import EXIT_BAD_INPUT, PRINT, parse
from denoisplit.cli.terminal import close_standard_streams, open_standard_streams, write_out
from denoisplit.cli.translation import Formatter, Translation
from denoisplit.commands.failures import plain_error
from denoisplit.config.commands import COMMANDS
from denoisplit.config.options import Command
from denoisplit.errors import InputError, printable
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.progress import StandardError
from denoisplit.version import __version__

EXIT_FAILED = 1  # a program that was called, not the user
EXIT_INTERRUPTED = 130
# where these alone stand on the command line, invalid settings are those of the YAML file
NO_SETTINGS = {"config", "structures", "output", "resume", "finish"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 for bad input, which is reported in one line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the program. Then the C library is also asked to keep freed memory, for
        the whole process (`denoisplit.machine.memory`), and closed standard streams are opened; a
        call with arguments, as from Python, leaves the process as it was.
    """
    if arguments is not None:
        return _run(arguments)
    keep_freed_memory()
    open_standard_streams()
    try:
        code = _run(sys.argv[1:])
    except SystemExit as end:  # after a help text, or a usage error
        code = int(end.code or 0)
    error = close_standard_streams()
    if error is None or code:
        return code
    return _refuse("denoisplit", error)


def _refuse(program: str, error: InputError) -> int:
    """Print an error in one line, and return the exit code."""
    StandardError().write(f"{program}: error: {error}\n")
    return EXIT_BAD_INPUT


def _run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    try:
        command, given = parse(arguments)
    except InputError as problem:  # the help text cannot be written
        return _refuse("denoisplit", problem)
    translation = Translation(command)
    config = given.pop("config", "")
    given = {key: value for key, value in given.items() if value not in (None, [])}
    options = dict(given)
    with _logging(translation, quiet=options.pop("quiet", False)):
        try:
            if config:
                from denoisplit.cli.yaml_options import from_yaml

                options = from_yaml(config, command) | options
            _check_required(command, options)
            as_json = options.get("json") in (True, PRINT)
            if as_json or options.get("json") is False:
                del options["json"]
            answer = _COMMANDS[command.name](options)
            if answer is None:
                return 0
            record = {"denoisplit": __version__, **answer.record}
            write_out(json.dumps(record) + "\n" if as_json else answer.text)
            return answer.code
        except (InputError, MemoryError, RuntimeError, OSError) as raised:
            error = plain_error(raised, command)
            if config and error.where == "settings" and not given.keys() - NO_SETTINGS:
                error = error.replace(where=config)
            name = error.where.split(" ")[0]
            from_file = config if name in options.keys() - given.keys() else ""
            error = translation.error(error, set(_words(options)), from_file)
            return _refuse(f"denoisplit {command.name}", error)
        except KeyboardInterrupt:
            output = options.get("output")
            begun = command.interrupted and output and Path(output).is_dir()
            more = f"; {command.interrupted}" if begun else ""
            StandardError().write(f"denoisplit {command.name}: interrupted{more}\n")
            return EXIT_INTERRUPTED


@contextmanager
def _logging(translation: Translation, *, quiet: bool) -> Iterator[None]:
    """Print messages on standard error, one line each; afterwards the logger is as before."""
    logger = logging.getLogger("denoisplit")
    before = logger.handlers, logger.level, logger.propagate
    handler = logging.StreamHandler(cast(TextIO, StandardError()))
    handler.setFormatter(Formatter(translation))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.handlers, level, logger.propagate = before
        logger.setLevel(level)


def _check_required(command: Command, options: Mapping[str, Any]) -> None:
    """Refuse a call without a required option, once those of the YAML file are known."""
    by_name = {option.name: option for option in command.options}
    missing = []
    for option in command.options:
        if option.required and not (options.get(option.name) or options.get(option.unless)):
            other = by_name.get(option.unless)
            alternative = f" (or {other.short_usage})" if other and other.type is not bool else ""
            missing.append(option.short_usage + alternative)
    if missing:
        kind = "option" if missing[0].startswith("-") else "argument"
        raise InputError(
            f"missing required {kind}{'s' * (len(missing) > 1)} {', '.join(missing)}",
            remedy=f"see `denoisplit {command.name} --help`",
        )


def _shown(path: str | Path) -> str:
    """Return a path on one line, with escapes for what a terminal would obey."""
    return printable(str(path))


def _words(value: Any) -> Iterator[str]:
    """Return all texts in the values of options: the files and folders are among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _words(inner)


class Answer(NamedTuple):
    """Result of a command: as text, and as the record that ``--json`` prints in its place."""

    text: str
    record: Mapping[str, Any]
    code: int = 0


def _files(paths: Sequence[str | Path]) -> Answer:
    """Answer with the files that were written."""
    text = "".join(f"{_shown(path)}\n" for path in paths)
    return Answer(text, {"files": [str(path) for path in paths]})


def _of_run(path: Path) -> Answer:
    """Answer with a calibrated run."""
    from denoisplit.files.json_file import read_json
    from denoisplit.report.tables import metrics_table
    from denoisplit.run import METRICS

    metrics = read_json(path / METRICS)
    text = f"{metrics_table(metrics)}run: {_shown(path)}\n"
    return Answer(text, {"run": str(path), "metrics": metrics})


def _train(options: dict[str, Any]) -> Answer | None:
    from denoisplit.commands.train import train
    from denoisplit.machine.distributed import team

    run = train(**options)
    return _of_run(run.path) if team().leads else None


def _predict(options: dict[str, Any]) -> Answer:
    from denoisplit.commands.predict import predict

    written = predict(**options)
    answer = _files(written)
    return answer._replace(record={**answer.record, "images": written.records})


def _evaluate(options: dict[str, Any]) -> Answer:
    from denoisplit.commands.evaluate import evaluate
    from denoisplit.report.tables import metrics_table, reference_text

    scores = evaluate(**options)
    return Answer(f"{metrics_table(scores)}{reference_text(scores)}\n", scores)


def _calibrate(options: dict[str, Any]) -> Answer:
    from denoisplit.commands.calibrate import calibrate

    return _of_run(calibrate(**options).path)


def _superpose(options: dict[str, Any]) -> Answer:
    from denoisplit.commands.superpose import superpose

    return _files(superpose(**options))


def _fit_noise_model(options: dict[str, Any]) -> Answer:
    from denoisplit.commands.noise_model import fit_noise_model

    fit = fit_noise_model(**options)
    lines = [f"noise model: {_shown(fit.path)}", f"page: {_shown(fit.page)}"]
    return Answer("\n".join([*fit.quality.verdict(), *lines]) + "\n", fit.as_dict())


def _inspect(options: dict[str, Any]) -> Answer:
    from denoisplit.inspection.inspect import inspect

    record = inspect(**options)
    return Answer(f"{record}\n", record)


def _reproduce(options: dict[str, Any]) -> Answer:
    from denoisplit.reproduction.reproduce import reproduce

    output = options.setdefault("output", "")
    text = reproduce(**options)
    where = f"results: {_shown(output)}\n" if output else ""
    return Answer(text + where, {"output": str(output) or None, "lines": text.splitlines()})


def _check_data(options: dict[str, Any]) -> Answer:
    from denoisplit.reproduction.tasks import availability

    text = availability(Path(options["folder"]))
    return Answer(text, {"folder": str(options["folder"]), "lines": text.splitlines()})


def _compare(options: dict[str, Any]) -> Answer:
    from denoisplit.commands.compare import PAGE, compare

    result, page = compare(**options), Path(options["output"]) / PAGE
    record = {"page": str(page), "note": result.note, "metrics": result.metrics}
    return Answer(f"{result.text}pictures: {_shown(page)}\n", record)


def _figure(options: dict[str, Any]) -> Answer:
    from denoisplit.reproduction.figure import figure

    if "crop" in options:
        options["crop"] = tuple(options["crop"])
    return _files([figure(**options)])


def _export(options: dict[str, Any]) -> Answer:
    from denoisplit_zoo import export

    return _files([export(**options)])


def _check(options: dict[str, Any]) -> Answer:
    from denoisplit_zoo import check

    result = check(**options)
    record = {"package": str(options["package"]), **result.as_dict()}
    text = Translation(COMMANDS["check"]).text(result.text)
    return Answer(text, record, 0 if result.passed else EXIT_FAILED)


def _import(options: dict[str, Any]) -> Answer:
    from denoisplit_zoo import import_package

    path = import_package(**options).path
    return _files([path])._replace(record={"run": str(path)})


def _demo(options: dict[str, Any]) -> Answer:
    from denoisplit_zoo.demo import demo

    result = demo(**options)
    if not result.passed:
        sys.stderr.write("denoisplit demo: error: bioimageio's test of the package failed\n")
    record = {"passed": result.passed, "lines": result.text.splitlines()}
    return Answer(result.text, record, 0 if result.passed else EXIT_FAILED)


_COMMANDS: dict[str, Callable[[dict[str, Any]], Answer | None]] = {
    "train": _train,
    "predict": _predict,
    "evaluate": _evaluate,
    "calibrate": _calibrate,
    "superpose": _superpose,
    "noise-model fit": _fit_noise_model,
    "inspect": _inspect,
    "reproduce": _reproduce,
    "data check": _check_data,
    "compare": _compare,
    "figure": _figure,
    "export": _export,
    "check": _check,
    "import": _import,
    "demo": _demo,
}
