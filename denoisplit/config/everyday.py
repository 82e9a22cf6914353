"""The everyday commands and their options; see `denoisplit.config.options`."""

from __future__ import annotations

from dataclasses import replace

from denoisplit.config.options import Channel, Command, File, Files, Groups, Option, RawIntensity
from denoisplit.config.shared_options import (
    ABOUT,
    BETA,
    COMMON_PRESET,
    CONFIG,
    GAUSSIAN,
    HALO,
    MAX_STEPS,
    NEW_RUN,
    OFFSETS,
    OUTPUT,
    PAIRING,
    POISSON,
    PRESET,
    PRINTED,
    QUIET,
    REPEAT_CALL,
    RUN,
    SAMPLES,
    SEED,
    STRUCTURES,
    SUPERPOSITION,
    SYSTEM,
    TILE,
    TRAINED_GAUSSIAN,
    TRAINED_POISSON,
    TRAINED_SEED,
    TRAINED_TRUTH,
    TRUTH,
    changed,
    groups,
    images,
)

TRAIN = Command(
    "train",
    "everyday",
    "Train on images of the structures and write a run folder.",
    (
        CONFIG,
        replace(STRUCTURES, unless="resume"),
        changed(NEW_RUN, "Run folder to write; must be new, except with `resume`."),
        SYSTEM,
        PRESET,
        PAIRING,
        SUPERPOSITION,
        Option(
            "--noise-model NAME FILE.npz",
            dict[str, File],
            "Noise model of a structure, in place of one fitted to its images.",
            otherwise="fitted",
            name="noise_models",
        ),
        Option(
            "--repeats NAME FILES",
            Groups,
            "Repeated recordings of static fields, to which a structure's noise model is fitted.",
            otherwise="none",
        ),
        TRAINED_TRUTH,
        OFFSETS,
        TRAINED_POISSON,
        TRAINED_GAUSSIAN,
        BETA,
        MAX_STEPS,
        TRAINED_SEED,
        Option("--resume", bool, "Continue an interrupted training.", False),
        Option(
            "--finish",
            bool,
            "With `resume`: stop here, and take the best epoch so far as the result.",
            False,
        ),
        *PRINTED,
        *groups("network", "objective", "data", "training"),
        *groups("noise_model_fit", "n2v", "prediction", "denoiser"),
    ),
    "denoisplit train --structure ER er/*.tif --structure MT mt/*.tif --preset small -o runs/er-mt",
    "continue with --resume",
)
PREDICT = Command(
    "predict",
    "everyday",
    "Split images of any size, and estimate the uncertainty.",
    (
        CONFIG,
        RUN,
        Option("FILES", Files, "Images, stacks or folders; raw superposed intensities.", ...),
        changed(OUTPUT, "Folder of the results: STEM_split, STEM_std and others per image."),
        Option(
            "--channel CHANNEL",
            Channel,
            "Channel to split, by its name or its number from 0; also FILE:CHANNEL.",
            otherwise="the only one",
        ),
        changed(SAMPLES, "Number of posterior samples; 0 gives the decoded means, in one pass."),
        Option(
            "--interval COVERAGE",
            float,
            "Write STEM_low and STEM_high, an interval that contains about this share of the true "
            "values: 0.9, or another coverage of the run.",
            otherwise="none",
        ),
        Option(
            "--tolerance T",
            RawIntensity,
            "Stop sampling a tile when the standard error of its mean is at most this.",
            0.0,
        ),
        changed(SEED, "Random seed of the samples."),
        Option("--keep-samples N", int, "Number of samples to write, the first ones.", 0),
        Option(
            "--noise-address ADDRESS",
            str,
            "Noise depends on position in the image, or on content, as in exported packages.",
            "position",
            choices=("position", "content"),
        ),
        TILE,
        HALO,
        Option(
            "--memory SIZE",
            str,
            "Memory that the process may take, such as 1.2GB; tiles become as small as needed.",
            otherwise="a share of that of the machine",
        ),
        Option(
            "--precision FORMAT",
            str,
            "bf16 is used where it is measured to be faster; results differ slightly.",
            "32",
            choices=("32", "bf16"),
        ),
        Option(
            "--compile WHEN",
            str,
            "Compile the network; auto: where it is faster and the work takes minutes.",
            "auto",
            choices=("auto", "on", "off"),
        ),
        Option(
            "--format FORMAT",
            str,
            "Format of the results; auto: OME-Zarr for Zarr images (0.4, which more programs read, "
            "up to 10 000 chunks; above, 0.5, which has shards), OME-TIFF for others.",
            "auto",
            choices=("auto", "ome-tiff", "ome-zarr-0.4", "ome-zarr-0.5"),
        ),
        Option(
            "--compression METHOD",
            str,
            "Compression of OME-TIFF files; OME-Zarr is always compressed.",
            "none",
            choices=("none", "zlib"),
        ),
        Option(
            "--dask ADDRESS",
            str,
            "Dask scheduler whose workers split the images; local: one process per CPU.",
            otherwise="none",
        ),
        Option(
            "--json [FILE.json]",
            File,
            "Print the result as JSON, and nothing else: a record per image, with the share of its "
            "tiles that are unlike the training data, and in what. With a file: also write the "
            "records there.",
            otherwise="none",
        ),
        Option("--resume", bool, "Continue an interrupted call with the same options.", False),
        Option(
            "--add", bool, "Write into a folder that holds other files; overwrites none.", False
        ),
        QUIET,
    ),
    "denoisplit predict runs/er-mt recordings/ -o results --samples 50",
    "repeat the call with --resume to continue",
)
EVALUATE = Command(
    "evaluate",
    "everyday",
    "Compare predictions with known structures and print metrics.",
    (
        CONFIG,
        RUN,
        changed(
            STRUCTURES,
            "Images of every structure, the same fields; superposed and given noise.",
            unless="mixed",
        ),
        Option(
            "--mixed FILES",
            Files,
            "Recorded superpositions, in place of `structures`; needs `truth`.",
            otherwise="none",
        ),
        TRUTH,
        replace(POISSON, default=None, otherwise="as in the training"),
        changed(
            GAUSSIAN,
            "Gaussian noise to add, relative to the pooled standard deviation of the training.",
            default=None,
            otherwise="as in the training",
        ),
        changed(SAMPLES, "Number of posterior samples per frame."),
        SEED,
        *PRINTED,
    ),
    "denoisplit evaluate runs/er-mt --structure ER new_er.tif --structure MT new_mt.tif",
)
CALIBRATE = Command(
    "calibrate",
    "everyday",
    "Calibrate a finished run anew, with error map, verdict and report.",
    (
        CONFIG,
        RUN,
        changed(
            TRUTH,
            "Images of the fields of the training with little or no noise, such as long exposures; "
            "gain and offset are fitted.",
            otherwise="as in the training",
        ),
        *PRINTED,
    ),
    "denoisplit calibrate runs/er-mt",
)
SUPERPOSE = Command(
    "superpose",
    "everyday",
    "Superpose images of the structures to make test inputs.",
    (
        CONFIG,
        changed(STRUCTURES, "Images of every structure, the same fields; raw intensities."),
        Option("-o/--output FILES", Files, "One OME-TIFF for a stack, or one per frame.", ...),
        Option(
            "--run RUN",
            File,
            "Run that defines superposition, offsets and the unit of `synthetic_gaussian`.",
            otherwise="none",
        ),
        replace(SUPERPOSITION, otherwise="sum, or as in `run`"),
        OFFSETS,
        POISSON,
        GAUSSIAN,
        changed(SEED, "Random seed of the noise."),
        *PRINTED,
    ),
    "denoisplit superpose --structure ER er.tif --structure MT mt.tif --synthetic-poisson 4 "
    "-o mixed.tif",
)
INSPECT = Command(
    "inspect",
    "everyday",
    "Say what an image, a run or a package is; see whether an image suits a run.",
    (
        Option("PATH", Files, "Images or folders of them, a run, or a package.", ..., name="what"),
        Option("--run RUN", File, "Run with whose training images are compared.", otherwise="none"),
        Option(
            "axes",
            str,
            'A letter of TCZYX for each dimension of an array, such as "ZYX".',
            otherwise="known for files, arrays YX and xarrays",
            place="python",
        ),
        *PRINTED,
    ),
    "denoisplit inspect mixed.tif --run runs/er-mt",
)
NOISE_MODEL_FIT = Command(
    "noise-model fit",
    "everyday",
    "Fit a noise model to images; write it, and a page that shows the fit.",
    (
        CONFIG,
        Option(
            "-o/--output MODEL.npz", File, "Noise model to write, and MODEL.html beside it.", ...
        ),
        images(
            "--repeats", "Repeated recordings of static fields: stacks, or planes of one field."
        ),
        images("--clean", "Clean images, to which the synthetic noise is added."),
        images("--noisy", "Noisy images alone; a Noise2Void denoiser is trained on them."),
        images("--signal", "Long exposures; with `observed`."),
        images("--observed", "Short exposures of the fields of `signal`, in the same order."),
        POISSON,
        GAUSSIAN,
        changed(
            COMMON_PRESET,
            "Settings of the denoiser: small and medium take minutes on two cores, the others need "
            "a GPU.",
            otherwise="default",
        ),
        Option("--components J", int, "Number of Gaussians.", otherwise="as few as suffice"),
        changed(SEED, "Random seed."),
        *PRINTED,
        *groups("noise_model_fit", "n2v"),
    ),
    "denoisplit noise-model fit --repeats beads_100_shots.tif -o camera.npz",
    "repeat the call to continue from the last checkpoint",
    "(--repeats | --clean | --noisy | --signal FILES... --observed) FILES...",
)
DEMO = Command(
    "demo",
    "everyday",
    "Run the complete workflow on simulated images, or on your own.",
    (
        replace(OUTPUT, default="demo"),
        changed(
            STRUCTURES,
            "Clean, co-registered images of each structure.",
            default=None,
            otherwise="simulated images",
        ),
        replace(MAX_STEPS, default=200, otherwise=""),
        replace(SAMPLES, default=16),
        replace(POISSON, default=4.0),
        replace(GAUSSIAN, default=1.0),
        changed(SEED, "Random seed of simulation, training, noise and samples."),
        ABOUT,
        *PRINTED,
    ),
    "denoisplit demo -o demo",
    REPEAT_CALL,
)
