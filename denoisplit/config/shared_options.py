"""Options that several commands have; see `denoisplit.config.options`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from denoisplit.config.options import (
    File,
    FileOrMapping,
    Files,
    Groups,
    Option,
    Pixels,
    RawIntensity,
)

REPEAT_CALL = "repeat the call to continue"

CONFIG = Option(
    "--config FILE.yaml",
    File,
    "YAML file with further options; those of the command line take precedence.",
    otherwise="none",
    place="command line",
)
QUIET = Option("-q/--quiet", bool, "Print warnings and errors only.", place="command line")
JSON = Option("--json", bool, "Print the result as JSON, and nothing else.", place="command line")
PRINTED = JSON, QUIET
STRUCTURES = Option(
    "--structure NAME FILES",
    Groups,
    "Images of each structure: files, stacks or folders, or FILE:CHANNEL; raw intensities.",
    ...,
    name="structures",
)
OUTPUT = Option("-o/--output DIR", File, "Folder of all results.", ...)
NEW_RUN = Option("-o/--output RUN", File, "Run folder to write; must be new.", ...)
RUN = Option("RUN", File, "Folder of a finished run.", ...)
SAMPLES = Option("--samples S", int, "Number of posterior samples.", 50)
SEED = Option("--seed N", int, "Random seed of noise and samples.", 0)
TILE = Option("--tile PX", Pixels, "Side of a tile's core.", otherwise="as large as memory allows")
HALO = Option(
    "--halo PX", Pixels, "Context margin around each tile.", otherwise="as measured for the run"
)
JOBS = Option("--jobs N", int, "Trainings at a time.", otherwise="one per GPU, or one on the CPU")
POISSON = Option(
    "--synthetic-poisson F",
    RawIntensity,
    "Poisson noise to add, as intensity per event; 0 adds none.",
    0.0,
)
GAUSSIAN = Option(
    "--synthetic-gaussian LEVEL",
    float,
    "Gaussian noise to add, relative to the pooled standard deviation of the images; 0 adds none.",
    0.0,
)
OFFSETS = Option(
    "--offset NAME VALUE",
    dict[str, RawIntensity],
    "Camera offset of a structure's images; counted once in a sum of structures.",
    otherwise="0",
    name="offsets",
)
TRUTH = Option(
    "--truth NAME FILES",
    Groups,
    "Images of the same fields with little or no noise; gain and offset are fitted.",
    otherwise="the images of `structures`, noise-free",
)
TRAINED_TRUTH = replace(
    TRUTH,
    description="Images of the fields of `structures` with little or no noise, such as long "
    "exposures, for calibration and report; gain and offset are fitted.",
    otherwise="errors are estimated where no noise is added",
)
ABOUT = Option(
    "--about FILE.yaml",
    FileOrMapping,
    "YAML file with authors, maintainers, license, training_data, ... of the package.",
    otherwise="none",
)
PACKAGE = Option("PACKAGE.zip", File, "The package.", ..., name="package")
# options of trainings, described by the settings that they stand for
SYSTEM = Option("--system SYSTEM", setting="system")
PRESET = Option("--preset PRESET", setting="preset")
PAIRING = Option("--pairing PAIRING", setting="data.pairing")
SUPERPOSITION = Option("--superposition KIND", setting="data.superposition")
TRAINED_POISSON = Option("--synthetic-poisson F", setting="data.synthetic_poisson")
TRAINED_GAUSSIAN = Option("--synthetic-gaussian LEVEL", setting="data.synthetic_gaussian")
BETA = Option("--beta WEIGHT", setting="objective.beta")
MAX_STEPS = Option(
    "--max-steps N",
    description="Most steps to train for.",
    setting="training.max_steps",
    otherwise="that of the preset",
)
TRAINED_SEED = Option("--seed N", setting="seed")
COMMON_PRESET = replace(
    PRESET,
    description="Named set of defaults: small takes minutes on two cores, medium up to half an "
    "hour; paper is the published configuration.",
    choices=("default", "small", "medium", "paper"),
)


def changed(option: Option, description: str, **changes: Any) -> Option:
    """Return an option with another description."""
    return replace(option, description=description, **changes)


def groups(*names: str) -> tuple[Option, ...]:
    """Return options for whole groups of settings, in Python and in YAML files."""
    return tuple(Option(name, name=name, setting=name, place="python") for name in names)


def images(flag: str, description: str) -> Option:
    """Return an option of `noise-model fit` for one kind of images."""
    return Option(f"{flag} FILES", Files, description, (), "none")
