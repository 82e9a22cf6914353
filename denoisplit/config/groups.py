"""The groups of settings: one frozen object per concern, checked where it is built.

Every setting declares its default, description and unit here; the help of the command line, the
documentation of the Python functions and ``docs/settings.md`` are made from these declarations.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from denoisplit.config.validation import as_written
from denoisplit.files.bounded import LARGEST
from denoisplit.network.stride import total_stride

System = Literal["denoisplit", "altered_musplit", "musplit", "hdn", "hdn_musplit"]
Preset = Literal["default", "small", "medium", "paper", "original"]
Pairing = Literal["co-registered", "in-order", "unrelated"]
SuperpositionKind = Literal["sum", "mean"]
CalibrationForm = Literal["auto", "closed", "ratio"]
Route = Literal["auto", "A", "B", "C"]

TrainingPrecision = Annotated[Literal["auto", "32", "bf16", "fp16"], BeforeValidator(as_written)]
# upper limits: whatever a config.yaml says, it cannot ask for more memory than machines have
Positive = Annotated[int, Field(gt=0, le=10**9)]
Channels = Annotated[int, Field(gt=0, le=512)]
Blocks = Annotated[int, Field(gt=0, le=16)]
Crops = Annotated[int, Field(gt=0, le=4096)]
Side = Annotated[int, Field(gt=0, le=2**13)]  # px
Samples = Annotated[int, Field(ge=2, le=10_000)]
AboveZero = Annotated[float, Field(gt=0, le=LARGEST)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0, lt=1)]


def setting(default: Any, description: str, unit: str = "") -> Any:
    """Declare a setting: its default, what it means, and the unit of its value."""
    return Field(
        default, description=description, json_schema_extra={"unit": unit} if unit else None
    )


class Frozen(BaseModel):
    """Settings that cannot be changed, and that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StructureSettings(Frozen):
    """One structure: its images and what is known about them."""

    name: str = Field(description="Name of the structure; also part of file names.")
    files: tuple[str, ...] = Field(min_length=1, description="Images, stacks or folders.")
    noise_model: str | None = setting(None, "Noise model file (.npz); fitted if unset.")
    repeats: tuple[str, ...] = setting(
        (), "Repeated recordings of static fields, to which the noise model is fitted (route A)."
    )
    truth: tuple[str, ...] = setting(
        (),
        "Images of the same fields with little or no noise, such as long exposures; for "
        "calibration and evaluation only.",
    )
    offset: Annotated[float, Field(ge=-LARGEST, le=LARGEST)] = setting(
        0.0, "Camera offset; counted once in a sum of structures.", "raw intensity"
    )

    @model_validator(mode="after")
    def _name_is_a_file_name(self) -> StructureSettings:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _+\-().]{0,63}", self.name):
            raise ValueError(
                f"the structure name {self.name!r} cannot be used as a file name: it must begin "
                "with a letter or digit and may hold letters, digits, spaces and _+-(). only"
            )
        return self


class NetworkSettings(Frozen):
    """Sizes of the network; see `denoisplit.network.vse.VSE`."""

    filters: Channels = setting(64, "Feature channels of every layer.")
    latents: Channels = setting(128, "Latent channels of every level.")
    levels: Annotated[int, Field(gt=0, le=8)] = setting(4, "Levels of the latent hierarchy.")
    blocks_per_level: Blocks = setting(1, "Residual blocks per level, each way.")
    final_blocks: Blocks = setting(1, "Residual blocks before the output layer.")
    dropout: Share = setting(0.1, "Probability of dropping a channel in a residual block.")
    patch: Side = setting(128, "Side of the training patch; a multiple of the stride.", "px")
    variance: Literal["soft_exp", "exp"] = setting(
        "soft_exp",
        "Variance as a function of the network's output: exp, or linear above 0 (soft_exp).",
    )
    log_variance_max: Annotated[float, Field(ge=-80, le=80)] | None = setting(
        20.0, "Upper limit of raw log-variances; no limit if unset."
    )
    planes: Blocks = setting(
        1, "Input planes: the patch, and coarser views of its surroundings (muSplit)."
    )
    context: Literal["lean", "regular", "deep"] = setting(
        "regular",
        "Which latents use the further input planes; see `denoisplit.network.context.ContextVSE`.",
    )
    first_kernel: Literal[3, 5] = setting(3, "Kernel side of the first convolution.", "px")

    @model_validator(mode="after")
    def _sizes_fit(self) -> NetworkSettings:
        if self.planes > self.levels + 1:
            raise ValueError(
                f"{self.planes} input planes are too many for {self.levels} levels: "
                f"at most {self.levels + 1} are possible"
            )
        if self.patch % self.stride:
            raise ValueError(
                f"patch {self.patch} is not a multiple of the network's total stride {self.stride}"
            )
        return self

    @property
    def stride(self) -> int:
        """Total stride: sides of patches are multiples of it, px."""
        return total_stride(self.levels, self.planes, self.context)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the network."""
        left_out = {"planes", "context"} if self.planes == 1 else set()
        return self.model_dump(exclude=left_out)


class ObjectiveSettings(Frozen):
    """The objective; see `denoisplit.training.objective.combine`."""

    beta: NotNegative = setting(
        1.0,
        "Weight of the KL term: 1 is the evidence lower bound; the published runs use the number "
        "of structures.",
    )
    warm_up: Share = setting(
        0.0,
        "Share of the steps over which beta rises from 0, so that splitting is learnt before the "
        "KL penalty takes over.",
    )
    kl_form: Literal["eq3", "eq4"] = setting(
        "eq4",
        "KL term of the paper: Eq. 3, a mean per latent element (muSplit), or Eq. 4, a sum per "
        "pixel (denoiSplit).",
    )
    free_bits: NotNegative = setting(
        1.0, "KL divergence below which a level is not penalised.", "nat per sample and level"
    )
    closed_form: bool = setting(False, "Compute the KL in closed form instead of from one sample.")
    monitor: Literal["loss", "data", "psnr", "risk"] = setting(
        "loss",
        "Criterion for the best epoch, on validation frames: the loss, its data term alone, the "
        "PSNR of the noisy targets, or the squared error as estimated without truth (risk), for "
        "which the system needs noise models.",
    )


class DataSettings(Frozen):
    """From image files to training pairs."""

    superposition: SuperpositionKind = setting(
        "sum", "How the structures add up to the input: their sum or their mean."
    )
    pairing: Pairing = setting(
        "co-registered",
        "How frames of the structures belong together: the same field of view (co-registered), "
        "the same order of files (in-order), or not at all (unrelated).",
    )
    synthetic_poisson: NotNegative = setting(
        0.0, "Poisson noise to add, as raw intensity per event; 0 adds none.", "raw intensity"
    )
    synthetic_gaussian: NotNegative = setting(
        0.0,
        "Standard deviation of Gaussian noise to add, relative to the pooled standard deviation "
        "of the clean training frames; 0 adds none.",
    )
    gaussian_sigma: NotNegative | None = setting(
        None,
        "Standard deviation of Gaussian noise to add, in place of the relative one.",
        "raw intensity",
    )
    clip_quantile: Annotated[float, Field(gt=0, le=1)] | None = setting(
        None, "Quantile of intensities at which training images are clipped; no clipping if unset."
    )
    split: Literal["auto", "rounded", "spread", "truncated", "threes"] = setting(
        "auto", "Rule for setting frames aside; see `denoisplit.data.splits.rule_for`."
    )
    augment: bool = setting(True, "Augment with flips and rotations.")
    crop_candidates: Crops = setting(
        1, "Random positions drawn per crop; the one of highest contrast is used."
    )
    binned_crops: Share = setting(
        0.0, "Share of crops that are binned; see `denoisplit.data.summed_crops`."
    )
    stacked_crops: Share = setting(
        0.0,
        "Probability that a crop is the sum of several; see `denoisplit.data.summed_crops`.",
    )


class TrainingSettings(Frozen):
    """The training loop."""

    batch: Crops = setting(32, "Crops per step.")
    virtual_batch: Crops | None = setting(
        None,
        "Crops that pass the network together, over which BatchNorm takes its moments; the "
        "whole batch if unset.",
    )
    optimiser: Literal["adamax", "muon"] = setting(
        "adamax",
        "Adamax, or Muon, whose steps have orthogonal directions; see `denoisplit.training.muon`.",
    )
    learning_rate: AboveZero = setting(1e-3, "Learning rate at the start; Muon needs about 0.02.")
    schedule: Literal["plateau", "cosine"] = setting(
        "plateau", "Learning rate: halved on a plateau, or falling to zero along a cosine."
    )
    plateau_patience: Positive = setting(
        30, "Epochs without improvement before the learning rate is halved.", "epochs"
    )
    early_stop_patience: Positive = setting(
        200, "Epochs without improvement before training stops.", "epochs"
    )
    max_epochs: Positive = setting(400, "Most epochs to train for.", "epochs")
    max_steps: Positive | None = setting(
        None, "Most steps to train for; no limit if unset.", "steps"
    )
    min_steps_per_epoch: Positive = setting(1, "Fewest steps per epoch.", "steps")
    steps_per_epoch: Positive | None = setting(
        None, "Steps per epoch; if unset, as many as the training frames fill with crops.", "steps"
    )
    gradient_clip: AboveZero | None = setting(
        0.5, "Norm to which gradients are clipped; no clipping if unset."
    )
    weight_averaging: Share = setting(
        0.0, "Decay of the running mean of the weights, which is kept; 0: no averaging."
    )
    precision: TrainingPrecision = setting(
        "auto", "Precision of the network in training; auto: bf16 or fp16 on GPUs, 32 on CPUs."
    )
    compile: bool = setting(
        False, "Compile the network; needs a C++ compiler, and Triton on a GPU."
    )

    @model_validator(mode="after")
    def _cosine_needs_an_end(self) -> TrainingSettings:
        if self.schedule == "cosine" and self.max_steps is None:
            raise ValueError("schedule cosine needs max_steps")
        return self


class DenoiserSettings(Frozen):
    """The denoisers before a splitter (hdn_musplit): of each structure and of the mixed input."""

    samples: Samples = setting(50, "Posterior samples of the denoised image, whose mean is split.")
    network: NetworkSettings = setting(NetworkSettings(), "Sizes of the denoisers.")
    objective: ObjectiveSettings = setting(ObjectiveSettings(), "Objective of the denoisers.")
    training: TrainingSettings = setting(TrainingSettings(), "Training of the denoisers.")


class NoiseModelSettings(Frozen):
    """Size and fit of the noise models."""

    route: Route = setting(
        "auto",
        "Source of the signal and noise pairs. A: repeated recordings, simulated ones where noise "
        "is added. B: clean images and the added noise. C: noisy images alone. auto: the first "
        "that the images allow.",
    )
    components: Annotated[int, Field(gt=0, le=64)] | None = setting(
        None, "Number of Gaussians; if unset, as few as held-out pairs require."
    )
    coefficients: Blocks = setting(4, "Polynomial coefficients per parameter of a Gaussian.")
    steps: Positive = setting(2000, "Steps of the fit.", "steps")


class N2VSettings(Frozen):
    """The Noise2Void denoiser, for noise models that are fitted to noisy images alone."""

    filters: Channels = setting(32, "Feature channels of the first level of the U-Net.")
    batch: Crops = setting(64, "Crops per step.")
    masked: Annotated[float, Field(gt=0, lt=1)] = setting(0.002, "Share of hidden pixels.")
    crop_candidates: Crops = setting(
        1, "Random positions drawn per crop; the one of highest contrast is used."
    )
    learning_rate: AboveZero = setting(4e-4, "Learning rate of Adam, at the start.")
    max_epochs: Positive = setting(100, "Number of epochs.", "epochs")
    max_steps_per_epoch: Positive = setting(400, "Most steps per epoch.", "steps")
    max_steps: Positive | None = setting(
        None,
        "Steps with a cosine schedule; if unset, epochs with halving on a plateau.",
        "steps",
    )


class PredictionSettings(Frozen):
    """Defaults of prediction for this run."""

    antithetic: bool = setting(True, "Draw samples in antithetic pairs, eps and -eps.")
    calibration_samples: Samples = setting(
        50, "Posterior samples of each validation frame for the calibration."
    )
    calibration_form: CalibrationForm = setting(
        "auto", "Estimator of the scalars; see `denoisplit.evaluation.calibration.calibrate`."
    )
    error_map: bool = setting(
        True,
        "Train an error map, whose error bars replace the scaled spread of posterior samples.",
    )
    error_map_steps: Positive = setting(
        300, "Steps that fit the error map, and the correction of decoded means.", "steps"
    )
    tile: Side | None = setting(
        None, "Side of a tile's core; if unset, as large as memory allows.", "px"
    )
    halo: Annotated[int, Field(ge=0, le=2**12)] | None = setting(
        None, "Context margin around each tile; if unset, as measured on the trained network.", "px"
    )
    judged_cell: Side = setting(
        1,
        "Metrics ignore rows and columns after the last multiple of this number; the paper's use "
        "64.",
        "px",
    )
