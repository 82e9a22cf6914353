"""What the command line takes: commands, options, and how a wrong one is told."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from denoisplit.cli.parser_figure import figure_arguments
from denoisplit.config.systems import SPLITTING, SYSTEMS
from denoisplit.version import __version__

EXIT_BAD_INPUT = 2


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
        "--structure",
        dest="structures",
        metavar=("NAME", "FILES"),
        nargs="+",
        action=_Structures,
        help="a structure's name and its images, stacks or folders; repeat for each structure",
    )


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE.yaml",
        help="take options from a YAML file; those of the command line go first",
    )


def _noise(parser: argparse.ArgumentParser, *, unit: str) -> None:
    parser.add_argument(
        "--synthetic-poisson",
        type=float,
        metavar="F",
        help="add Poisson noise of F raw intensity units per event",
    )
    parser.add_argument(
        "--synthetic-gaussian",
        type=float,
        metavar="LEVEL",
        help=f"add Gaussian noise of LEVEL times {unit}",
    )


def _offset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offset",
        dest="offsets",
        nargs=2,
        metavar=("NAME", "VALUE"),
        action=_Pairs,
        help="camera offset of a structure's images, counted once in a sum",
    )


def _jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="trainings at a time (default: one per GPU, else one)"
    )


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="denoisplit",
        description="Split one noisy fluorescence image into its structures, free of noise.",
    )
    parser.add_argument("--version", action="version", version=f"denoisplit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, text: str, *, config: bool = True, among: Any = commands
    ) -> argparse.ArgumentParser:
        # options that are not given stay unset, so that a YAML file can give them
        added: argparse.ArgumentParser = among.add_parser(
            name, help=text, description=text, argument_default=argparse.SUPPRESS
        )
        if config:
            _config(added)
        added.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
        return added

    train = command("train", "train on images of the structures; makes a run folder")
    _structure(train)
    train.add_argument("-o", "--output", metavar="RUN", help="the run folder to make")
    train.add_argument("--system", choices=tuple(SYSTEMS))
    train.add_argument(
        "--noise-model",
        dest="noise_models",
        nargs=2,
        metavar=("NAME", "FILE.npz"),
        action=_Pairs,
        help="a structure's noise model; without one it is fitted to the images",
    )
    train.add_argument(
        "--repeats",
        metavar=("NAME", "FILES"),
        nargs="+",
        action=_Structures,
        help="repeated shots of a static scene, which a structure's noise model is fitted to",
    )
    train.add_argument("--superposition", choices=("sum", "mean"))
    train.add_argument(
        "--pairing",
        choices=("co-registered", "in-order", "unrelated"),
        help="how frames of the structures belong together (default: co-registered)",
    )
    train.add_argument(
        "--preset",
        choices=("default", "small", "paper", "original"),
        help="small: minutes on two cores; paper: the published configuration; original: of "
        "system hdn, that of Prakash et al. (2021)",
    )
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
    predict.add_argument(
        "--samples", type=int, metavar="S", help="posterior samples (default 50); 0: a preview"
    )
    predict.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="stop sampling a tile when the standard error of its mean is at most T, in "
        "intensity units (default 0: never)",
    )
    predict.add_argument("--seed", type=int, metavar="N", help="seed of the samples (default 0)")
    predict.add_argument(
        "--keep-samples", type=int, metavar="N", help="write the first N samples too"
    )
    predict.add_argument(
        "--noise-address",
        choices=("position", "content"),
        help="address the samples' noise by place (default) or by content, as packages do",
    )
    predict.add_argument("--tile", type=int, metavar="PX", help="greatest side of a tile's core")
    predict.add_argument("--halo", type=int, metavar="PX", help="what a tile sees around its core")
    predict.add_argument(
        "--resume", action="store_true", help="go on with an interrupted call of the same options"
    )
    predict.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="split by the workers of this Dask scheduler; local: processes here",
    )
    predict.add_argument(
        "--precision",
        choices=("32", "bf16"),
        help="bf16: bfloat16 where it is faster here (default 32: float32)",
    )
    predict.add_argument(
        "--compile",
        choices=("auto", "on", "off"),
        help="compile the network (default auto: where it is faster and the work takes minutes)",
    )
    predict.add_argument("--add", action="store_true", help="write into a folder with files in it")

    evaluate = command("evaluate", "compare predictions with known structures")
    evaluate.add_argument("run", metavar="RUN", nargs="?")
    _structure(evaluate)
    evaluate.add_argument(
        "--truth",
        metavar=("NAME", "FILES"),
        nargs="+",
        action=_Structures,
        help="compare with these images of a structure, such as long exposures; for each structure",
    )
    evaluate.add_argument(
        "--mixed",
        nargs="+",
        metavar="FILES",
        help="recorded superpositions in place of --structure; needs --truth",
    )
    _noise(evaluate, unit="the pooled standard deviation that the run stores")
    evaluate.add_argument("--samples", type=int, metavar="S", help="posterior samples (default 50)")
    evaluate.add_argument("--seed", type=int, metavar="N", help="of noise and samples (default 0)")
    evaluate.add_argument("--json", action="store_true", help="print JSON and nothing else")

    superpose = command("superpose", "make superposed images for trials")
    _structure(superpose)
    superpose.add_argument(
        "-o",
        "--output",
        nargs="+",
        metavar="FILES",
        help="one file for a stack of all frames, or one per frame",
    )
    superpose.add_argument("--run", metavar="RUN", help="superpose as this run does")
    superpose.add_argument("--superposition", choices=("sum", "mean"))
    _noise(superpose, unit="the pooled standard deviation of these frames, or of the run's")
    _offset(superpose)
    superpose.add_argument("--seed", type=int, metavar="N", help="seed of the noise (default 0)")

    about = "fit a noise model to images; writes it, and a page that shows how well it fits"
    noise_model = commands.add_parser("noise-model", help=about, description=about)
    actions = noise_model.add_subparsers(metavar="ACTION", required=True)
    fit = command("fit", about, among=actions)
    fit.set_defaults(command="noise-model fit")
    for flag, text in {
        "--repeats": "shots of a static scene: a stack of each scene, or all shots of one as files",
        "--clean": "clean images, to which the synthetic noise is added",
        "--noisy": "noisy images alone: a Noise2Void denoiser is trained on them",
        "--signal": "long exposures; with --observed",
        "--observed": "short exposures of the same fields, in the same order",
    }.items():
        fit.add_argument(flag, nargs="+", metavar="FILES", help=text)
    fit.add_argument("-o", "--output", metavar="MODEL.npz", help="the model; MODEL.html beside it")
    _noise(fit, unit="the standard deviation of the clean images")
    fit.add_argument(
        "--preset",
        choices=("default", "small", "paper"),
        help="of the denoiser: small takes minutes on two cores, the others want a GPU",
    )
    fit.add_argument(
        "--components",
        type=int,
        metavar="J",
        help="number of Gaussians (default: as many as held-out pixels call for)",
    )
    fit.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    fit.add_argument("--json", action="store_true", help="print JSON and nothing else")

    reproduce = command("reproduce", "figures of the paper, on images at hand", config=False)
    reproduce.add_argument(
        "items",
        nargs="+",
        metavar="ITEM",
        help="T1 to T9 or all: rows of the tables, and figures, on the public data in --data; S1: "
        "three routes to the noise model, EQ: Eq. 3 against Eq. 4, on --structure or on tasks; S2: "
        "denoisers beside them",
    )
    reproduce.add_argument("--data", metavar="DIR", help="folder of the downloads")
    reproduce.add_argument(
        "--system",
        dest="systems",
        nargs="+",
        metavar="SYSTEM",
        help=f"of the tables: {', '.join(SPLITTING)} (default: all of them)",
    )
    _jobs(reproduce)
    reproduce.add_argument("--dry-run", action="store_true", help="only list the trainings")
    _structure(reproduce)
    reproduce.add_argument("-o", "--output", metavar="DIR", help="folder of all results")
    reproduce.add_argument("--preset", choices=("default", "small", "paper"))
    reproduce.add_argument(
        "--synthetic-poisson",
        type=float,
        nargs="+",
        metavar="F",
        help="Poisson noise of F raw intensity units per event; of the tables: 0 and 1000",
    )
    reproduce.add_argument(
        "--synthetic-gaussian",
        type=float,
        nargs="+",
        metavar="LEVEL",
        help="levels of Gaussian noise, in units of the pooled standard deviation "
        "(default 1 1.5 2 4)",
    )
    reproduce.add_argument("--max-steps", type=int, metavar="N", help="of each training")
    reproduce.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")

    compare = command("compare", "several systems on your images, with equal effort", config=False)
    _structure(compare)
    compare.add_argument("-o", "--output", metavar="DIR", help="folder of all results")
    compare.add_argument(
        "--systems",
        nargs="+",
        metavar="SYSTEM",
        help=f"{', '.join(SPLITTING)} (default: all of them)",
    )
    compare.add_argument("--preset", choices=("default", "small", "paper"))
    compare.add_argument("--superposition", choices=("sum", "mean"))
    _noise(compare, unit="the pooled standard deviation of the training frames")
    compare.add_argument("--max-steps", type=int, metavar="N", help="of each training")
    compare.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    _jobs(compare)

    figure = command("figure", "a figure of the paper from finished runs", config=False)
    figure_arguments(figure, _Structures)

    about = "public data of the paper"
    data = commands.add_parser("data", help=about, description=about)
    actions = data.add_subparsers(metavar="ACTION", required=True)
    check_data = command(
        "check", "which tasks a folder of downloads can run", config=False, among=actions
    )
    check_data.set_defaults(command="data check")
    check_data.add_argument("folder", metavar="DIR")

    export = command("export", "write a run as a bioimage.io model package")
    export.add_argument("run", metavar="RUN", nargs="?")
    export.add_argument("-o", "--output", metavar="PACKAGE.zip", help="the package to write")
    export.add_argument(
        "--kind",
        choices=("mmse", "samples", "split"),
        help="mmse: posterior mean and std (default); samples: single samples; split: the mean",
    )
    export.add_argument(
        "--samples", type=int, metavar="K", help="posterior samples (default 16; 8 of samples)"
    )
    export.add_argument(
        "--tile", type=int, metavar="PX", help="side of its tiles (default 256 if the halo fits)"
    )
    export.add_argument("--halo", type=int, metavar="PX", help="what tiles see around their core")
    export.add_argument("--seed", type=int, metavar="N", help="seed of the samples (default 0)")
    export.add_argument("--name", help="name of the package (default: from the structures)")
    export.add_argument("--about", metavar="FILE.yaml", help="authors, license, training_data, ...")
    export.add_argument("--test-image", metavar="FILE", help="default: a test frame of the run")

    check = command("check", "whether a package is accepted where it is to be used", config=False)
    check.add_argument("package", metavar="PACKAGE.zip", nargs="?")
    check.add_argument(
        "--run-code",
        action="store_true",
        help="also run the architecture.py of another release: of packages that you trust only",
    )

    imported = command("import", "a package back to a run that predicts the same", config=False)
    imported.add_argument("package", metavar="PACKAGE.zip", nargs="?")
    imported.add_argument("-o", "--output", metavar="RUN", help="the run folder, a new one")

    demo = command("demo", "the whole way on simulated images, or on your own", config=False)
    _structure(demo)
    demo.add_argument("-o", "--output", metavar="DIR", help="folder of all results (default demo)")
    demo.add_argument("--max-steps", type=int, metavar="N", help="of the training (default 600)")
    demo.add_argument("--samples", type=int, metavar="S", help="posterior samples (default 50)")
    _noise(demo, unit="the pooled standard deviation of the training frames")
    demo.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    demo.add_argument("--about", metavar="FILE.yaml", help="authors, licence, ... of the package")
    return parser
