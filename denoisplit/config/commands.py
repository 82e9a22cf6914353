"""All commands: the everyday ones, and those for packages and for the paper."""

from __future__ import annotations

from dataclasses import replace

from denoisplit.config.everyday import (
    CALIBRATE,
    DEMO,
    EVALUATE,
    INSPECT,
    NOISE_MODEL_FIT,
    PREDICT,
    SUPERPOSE,
    TRAIN,
)
from denoisplit.config.options import Command, File, Files, Option, Pixels
from denoisplit.config.shared_options import (
    ABOUT,
    COMMON_PRESET,
    CONFIG,
    GAUSSIAN,
    HALO,
    JOBS,
    MAX_STEPS,
    NEW_RUN,
    OUTPUT,
    PACKAGE,
    PAIRING,
    POISSON,
    PRINTED,
    REPEAT_CALL,
    RUN,
    SAMPLES,
    SEED,
    STRUCTURES,
    SUPERPOSITION,
    TILE,
    TRAINED_GAUSSIAN,
    TRAINED_POISSON,
    TRAINED_SEED,
    TRAINED_TRUTH,
    TRUTH,
    changed,
    groups,
)
from denoisplit.config.systems import SPLITTING

# ---------------------------------------------------------------- packages

EXPORT = Command(
    "export",
    "packages",
    "Write a run as a bioimage.io model package.",
    (
        CONFIG,
        RUN,
        Option("-o/--output PACKAGE.zip", File, "Package to write; must be new.", ...),
        Option(
            "--kind KIND",
            str,
            "Outputs: mean and standard deviation (mmse), both from one pass without samples "
            "(fast), mean and interval from one pass (interval), single samples, or the mean "
            "(split). fast and interval need a run with an error map.",
            "mmse",
            choices=("mmse", "fast", "interval", "samples", "split"),
        ),
        replace(
            SAMPLES, default=None, otherwise="16, 8 for kind samples, none for fast and interval"
        ),
        changed(
            TILE, "Side of the tiles that the package takes.", otherwise="256 if the halo fits"
        ),
        HALO,
        changed(SEED, "Random seed of the samples."),
        Option(
            "--interval COVERAGE",
            float,
            "Share of the pixels that the intervals of kind interval contain.",
            otherwise="0.9",
        ),
        Option("--name NAME", str, "Name of the package.", otherwise="structures, kind and seed"),
        ABOUT,
        Option(
            "--test-image FILE",
            File,
            "Raw superposed image that the package is tested with.",
            otherwise="a test frame of the run",
        ),
        *PRINTED,
    ),
    "denoisplit export runs/er-mt --about about.yaml -o er-mt.zip",
)
CHECK = Command(
    "check",
    "packages",
    "Check compatibility of a package with Fiji, ilastik, bioimageio and the zoo.",
    (
        PACKAGE,
        Option(
            "--run-code",
            bool,
            "Also run code that this installation does not export; for packages you trust only.",
            False,
        ),
        Option(
            "--environments DIR",
            File,
            "Folder of the environment of bioengine, which the first check makes (600 MB).",
            otherwise="denoisplit in the user's cache folder",
        ),
        *PRINTED,
    ),
    "denoisplit check er-mt.zip",
)
IMPORT = Command(
    "import",
    "packages",
    "Turn a package back into a run folder that predicts the same.",
    (PACKAGE, NEW_RUN, *PRINTED),
    "denoisplit import er-mt.zip -o runs/er-mt",
)

# ---------------------------------------------------------------- the paper

REPRODUCE = Command(
    "reproduce",
    "paper",
    "Reproduce tables and figures of the paper.",
    (
        Option(
            "ITEM",
            list[str],
            "T1 to T9 or all: rows of the tables, and figures; S1: routes to the noise model; "
            "EQ: Eq. 3 against Eq. 4; S2: denoisers. Tasks named beside S1, EQ or S2 are used.",
            ...,
            name="items",
        ),
        replace(OUTPUT, unless="dry_run"),
        Option("--data DIR", File, "Folder of the downloads.", otherwise="none"),
        changed(
            STRUCTURES,
            "Images of each structure for S1 and EQ.",
            default=None,
            otherwise="made from the tasks",
        ),
        Option(
            "--system SYSTEM",
            list[str],
            "Systems of the tables.",
            otherwise="those with a published result",
            name="systems",
            choices=SPLITTING,
        ),
        replace(COMMON_PRESET, otherwise="as published; small for S1 and EQ"),
        replace(POISSON, type=list[float], default=None, otherwise="0 and 1000 in the tables"),
        replace(GAUSSIAN, type=list[float], default=None, otherwise="1, 1.5, 2 and 4"),
        MAX_STEPS,
        TRAINED_SEED,
        JOBS,
        Option("--dry-run", bool, "List the trainings and run none of them.", False),
        *PRINTED,
    ),
    "denoisplit reproduce T1 --data downloads -o paper",
    REPEAT_CALL,
)
COMPARE = Command(
    "compare",
    "paper",
    "Compare several systems on your images, with equal training budget.",
    (
        STRUCTURES,
        OUTPUT,
        Option("--systems SYSTEM", list[str], "Two or more systems.", SPLITTING, choices=SPLITTING),
        COMMON_PRESET,
        PAIRING,
        TRAINED_TRUTH,
        SUPERPOSITION,
        TRAINED_POISSON,
        TRAINED_GAUSSIAN,
        MAX_STEPS,
        TRAINED_SEED,
        JOBS,
        *PRINTED,
        *groups("network", "objective", "data", "training"),
        *groups("noise_model_fit", "n2v", "prediction", "denoiser"),
    ),
    "denoisplit compare --structure ER er/*.tif --structure MT mt/*.tif --preset small -o systems",
    REPEAT_CALL,
)
FIGURE = Command(
    "figure",
    "paper",
    "Draw a figure of the paper from finished runs.",
    (
        Option(
            "KIND",
            str,
            "2: whole frames, runs side by side; 3: samples and calibration; 4: a region, runs "
            "side by side; S1: routes to the noise model; S2: denoising against splitting; S3: "
            "numbers of samples; sampling: an animation.",
            ...,
            choices=(
                *("2", "3", "4", "S1", "S2", "S3"),
                *("calibration", "denoising", "noise-model", "sampling"),
            ),
        ),
        Option("RUN", Files, "Finished runs; most kinds take one.", ..., name="runs"),
        Option("-o/--output FILE", File, "File to write: .png, or .gif for sampling.", ...),
        Option("--frame N", int, "Number of the test frame, from 0.", otherwise="the first"),
        Option(
            "--crop Y X SIDE",
            tuple[Pixels, Pixels, Pixels],
            "Region to show: its top, left and side.",
            otherwise="the 256 px of highest contrast",
        ),
        replace(SAMPLES, default=None, otherwise="50, or up to 200 for S3"),
        changed(
            STRUCTURES,
            "Images of each structure, in place of the test frames.",
            default=None,
            otherwise="the test frames of the run",
        ),
        changed(TRUTH, "Noise-free images of the same fields; no noise is added then."),
        changed(SEED, "Random seed of samples, noise and random choices."),
        *PRINTED,
    ),
    "denoisplit figure 3 runs/er-mt -o figure_3.png",
)
DATA_CHECK = Command(
    "data check",
    "paper",
    "List which tasks of the paper a folder of downloads can run.",
    (Option("DIR", File, "Folder of the downloads.", ..., name="folder"), *PRINTED),
    "denoisplit data check downloads",
)

COMMANDS = {
    command.name: command
    for command in (
        *(TRAIN, PREDICT, EVALUATE, CALIBRATE, SUPERPOSE, NOISE_MODEL_FIT, INSPECT, DEMO),
        *(EXPORT, CHECK, IMPORT),
        *(REPRODUCE, COMPARE, FIGURE, DATA_CHECK),
    )
}
