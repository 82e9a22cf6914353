"""The command line: parse, call, print. Heavy modules are imported when a command runs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from denoisplit import __version__
from denoisplit.errors import InputError

EXIT_FAILED = 1  # a program that was called, and not the user
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message}; see `{self.prog} --help`\n")


class _Structures(argparse.Action):
    """``--structure NAME FILES...``, repeated: a mapping of name to files."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, *files = values
        groups = dict(getattr(namespace, self.dest, None) or {})
        if not files:
            parser.error(f"{option_string} {name}: no files; give a name and its files")
        if name in groups:
            parser.error(
                f"{option_string} {name} is given twice; give each group of files its own name"
            )
        groups[name] = files
        setattr(namespace, self.dest, groups)


class _Pairs(argparse.Action):
    """An option of a name and a value, repeated: a mapping."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, value = values
        pairs = dict(getattr(namespace, self.dest, None) or {})
        if name in pairs:
            parser.error(f"{option_string} {name} is given twice")
        if self.dest == "offsets":
            try:
                value = float(value)
            except ValueError:
                parser.error(f"{option_string} {name} {value}: expected a number")
        pairs[name] = value
        setattr(namespace, self.dest, pairs)


def _structure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--structure", dest="structures", metavar=("NAME", "FILES"), nargs="+", action=_Structures,
        help="a structure's name and its images, stacks or folders; repeat for each structure",
    )  # fmt: skip


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE.yaml",
        help="take options from a YAML file; those of the command line go first",
    )  # fmt: skip


def _noise(parser: argparse.ArgumentParser, *, unit: str) -> None:
    parser.add_argument(
        "--synthetic-poisson", type=float, metavar="F",
        help="add Poisson noise of F raw intensity units per event",
    )  # fmt: skip
    parser.add_argument(
        "--synthetic-gaussian", type=float, metavar="LEVEL",
        help=f"add Gaussian noise of LEVEL times {unit}",
    )  # fmt: skip


def _offset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offset", dest="offsets", nargs=2, metavar=("NAME", "VALUE"), action=_Pairs,
        help="camera offset of a structure's images, counted once in a sum",
    )  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="denoisplit",
        description="Split one noisy fluorescence image into its structures, free of noise.",
    )
    parser.add_argument("--version", action="version", version=f"denoisplit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, *, config: bool = True) -> argparse.ArgumentParser:
        # options that are not given stay unset, so that a YAML file can give them
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=text, argument_default=argparse.SUPPRESS
        )
        if config:
            _config(added)
        added.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
        return added

    train = command("train", "train on images of the structures; makes a run folder")
    _structure(train)
    train.add_argument("-o", "--output", metavar="RUN", help="the run folder to make")
    train.add_argument("--system", choices=("denoisplit", "altered_musplit"))
    train.add_argument(
        "--noise-model", dest="noise_models", nargs=2, metavar=("NAME", "FILE.npz"), action=_Pairs,
        help="a structure's noise model; fitted where the noise is synthetic",
    )  # fmt: skip
    train.add_argument("--superposition", choices=("sum", "mean"))
    train.add_argument(
        "--pairing", choices=("co-registered", "in-order", "unrelated"),
        help="how frames of the structures belong together (default: co-registered)",
    )  # fmt: skip
    train.add_argument(
        "--preset", choices=("default", "small", "paper"),
        help="small: minutes on two cores; paper: the published configuration",
    )  # fmt: skip
    _noise(train, unit="the pooled standard deviation of the training frames")
    _offset(train)
    train.add_argument("--beta", type=float, help="weight of the KL; 1 is the evidence bound")
    train.add_argument("--max-steps", type=int, metavar="N")
    train.add_argument("--seed", type=int, metavar="N")
    train.add_argument("--resume", action="store_true", help="continue an interrupted training")

    predict = command("predict", "split images of any size; writes OME-TIFF")
    predict.add_argument("run", metavar="RUN", nargs="?")
    predict.add_argument("files", metavar="FILES", nargs="*")
    predict.add_argument("-o", "--output", metavar="DIR", help="folder of the results")
    predict.add_argument("--samples", type=int, metavar="S", help="posterior samples (default 50)")
    predict.add_argument("--seed", type=int, metavar="N", help="seed of the samples (default 0)")
    predict.add_argument(
        "--keep-samples", type=int, metavar="N", help="write the first N samples too"
    )
    predict.add_argument(
        "--noise-address", choices=("position", "content"),
        help="address the samples' noise by place (default) or by content, as packages do",
    )  # fmt: skip
    predict.add_argument("--tile", type=int, metavar="PX", help="greatest side of a tile's core")
    predict.add_argument("--halo", type=int, metavar="PX", help="what a tile sees around its core")
    predict.add_argument("--add", action="store_true", help="write into a folder with files in it")

    evaluate = command("evaluate", "compare predictions with known structures")
    evaluate.add_argument("run", metavar="RUN", nargs="?")
    _structure(evaluate)
    _noise(evaluate, unit="the pooled standard deviation that the run stores")
    evaluate.add_argument("--samples", type=int, metavar="S", help="posterior samples (default 50)")
    evaluate.add_argument("--seed", type=int, metavar="N", help="of noise and samples (default 0)")
    evaluate.add_argument("--json", action="store_true", help="print JSON and nothing else")

    superpose = command("superpose", "make superposed images for trials")
    _structure(superpose)
    superpose.add_argument(
        "-o", "--output", nargs="+", metavar="FILES",
        help="one file for a stack of all frames, or one per frame",
    )  # fmt: skip
    superpose.add_argument("--run", metavar="RUN", help="superpose as this run does")
    superpose.add_argument("--superposition", choices=("sum", "mean"))
    _noise(superpose, unit="the pooled standard deviation of these frames, or of the run's")
    _offset(superpose)
    superpose.add_argument("--seed", type=int, metavar="N", help="seed of the noise (default 0)")

    export = command("export", "write a run as a bioimage.io model package")
    export.add_argument("run", metavar="RUN", nargs="?")
    export.add_argument("-o", "--output", metavar="PACKAGE.zip", help="the package to write")
    export.add_argument("--kind", choices=("mmse",), help="mmse: posterior mean and std")
    export.add_argument("--samples", type=int, metavar="K", help="posterior samples (default 16)")
    export.add_argument("--tile", type=int, metavar="PX", help="side of its tiles (default 256)")
    export.add_argument("--halo", type=int, metavar="PX", help="what tiles see around their core")
    export.add_argument("--seed", type=int, metavar="N", help="seed of the samples (default 0)")
    export.add_argument("--name", help="name of the package (default: from the structures)")
    export.add_argument("--about", metavar="FILE.yaml", help="authors, license, training_data, ...")
    export.add_argument("--test-image", metavar="FILE", help="default: a test frame of the run")

    demo = command("demo", "the whole way on simulated images, or on your own", config=False)
    _structure(demo)
    demo.add_argument("-o", "--output", metavar="DIR", help="folder of all results (default demo)")
    demo.add_argument("--max-steps", type=int, metavar="N", help="of the training (default 600)")
    demo.add_argument("--samples", type=int, metavar="S", help="posterior samples (default 50)")
    _noise(demo, unit="the pooled standard deviation of the training frames")
    demo.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 for bad input told in one line."""
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    name = given.pop("command")
    _log(quiet=given.pop("quiet", False))
    try:
        return _COMMANDS[name](_with_config(given, name)) or 0
    except InputError as error:
        sys.stderr.write(f"denoisplit {name}: error: {error}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write(f"denoisplit {name}: interrupted\n")
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
    from denoisplit.commands.options import from_yaml

    function: Callable[..., Any] | None = None
    if name == "export":
        from denoisplit_zoo import export as function
    return {**from_yaml(path, name, function), **given}


def _need(options: dict[str, Any], command: str, **needed: str) -> None:
    for key, flag in needed.items():
        if key not in options:
            raise InputError(
                command, f"no {flag}", f"{flag} on the command line or in the YAML file", "give it"
            )


def _train(options: dict[str, Any]) -> None:
    _need(options, "train", output="-o RUN")
    if not options.get("resume"):
        _need(options, "train", structures="--structure NAME FILES")
    from denoisplit.commands.train import train
    from denoisplit.report.table import metrics_table
    from denoisplit.run import METRICS, read_json

    run = train(**options)
    sys.stdout.write(metrics_table(read_json(run.path / METRICS)))
    sys.stdout.write(f"run: {run.path}\n")


def _predict(options: dict[str, Any]) -> None:
    _need(options, "predict", run="RUN", files="FILES", output="-o DIR")
    from denoisplit.commands.predict import predict

    for path in predict(**options):
        sys.stdout.write(f"{path}\n")


def _evaluate(options: dict[str, Any]) -> None:
    _need(options, "evaluate", run="RUN", structures="--structure NAME FILES")
    as_json = options.pop("json", False)
    from denoisplit.commands.evaluate import evaluate
    from denoisplit.report.table import metrics_table

    found = evaluate(**options)
    sys.stdout.write(json.dumps(found) + "\n" if as_json else metrics_table(found))


def _superpose(options: dict[str, Any]) -> None:
    _need(options, "superpose", structures="--structure NAME FILES", output="-o FILES")
    from denoisplit.commands.superpose import superpose

    for path in superpose(**options):
        sys.stdout.write(f"{path}\n")


def _export(options: dict[str, Any]) -> None:
    _need(options, "export", run="RUN", output="-o PACKAGE.zip")
    from denoisplit_zoo import export

    sys.stdout.write(f"{export(**options)}\n")


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
    "export": _export,
    "demo": _demo,
}
