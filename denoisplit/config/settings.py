"""All settings of a run: one frozen object per concern, checked where it is built.

``Settings`` is what a user can set (command line or YAML); ``RunConfig`` is what a run folder
stores: the settings, resolved, and the facts that training found. Unknown keys are errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from denoisplit.config.presets import base_values, merged
from denoisplit.config.seeds import SEEDS
from denoisplit.config.systems import SYSTEMS
from denoisplit.config.yaml_file import as_written, parse

FORMAT_VERSION = 1
MIXED = "mixed"  # the denoiser of the mixed input

System = Literal["denoisplit", "altered_musplit", "musplit", "hdn", "hdn_musplit"]
Preset = Literal["default", "small", "paper", "original"]
Pairing = Literal["co-registered", "in-order", "unrelated"]
SuperpositionKind = Literal["sum", "mean"]
CalibrationForm = Literal["auto", "closed", "ratio"]
Route = Literal["auto", "A", "B", "C"]

TrainingPrecision = Annotated[Literal["auto", "32", "bf16", "fp16"], BeforeValidator(as_written)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StructureSettings(_Frozen):
    """One structure: its images and what is known of them."""

    name: str
    files: tuple[str, ...] = Field(min_length=1)
    noise_model: str | None = None  # an exchange .npz; fitted if absent
    repeats: tuple[str, ...] = ()  # shots of static scenes that it is fitted to, route A
    offset: float = 0.0  # camera offset in raw units, counted once in a sum of structures

    @model_validator(mode="after")
    def _name_is_a_file_name(self) -> StructureSettings:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _+\-().]{0,63}", self.name):
            raise ValueError(
                f"structure name {self.name!r}: use letters, digits, blanks and _+-(). only"
            )
        return self


class NetworkSettings(_Frozen):
    """Sizes of the network; see `denoisplit.network.VSE`."""

    filters: Positive = 64
    latents: Positive = 128
    levels: Annotated[int, Field(gt=0, le=8)] = 4
    blocks_per_level: Positive = 1
    final_blocks: Positive = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    patch: Positive = 128  # side of the training patch, px
    variance: Literal["soft_exp", "exp"] = "soft_exp"
    log_variance_max: float | None = 20.0
    planes: Positive = 1  # of the input: the patch, and more for what lies around it (muSplit)
    context: Literal["lean", "regular", "deep"] = "regular"  # of more than one plane
    first_kernel: Literal[3, 5] = 3  # side of the first convolution of the patch, px

    @model_validator(mode="after")
    def _sizes_fit(self) -> NetworkSettings:
        if self.planes > self.levels + 1:
            raise ValueError(f"{self.planes} planes are too many for {self.levels} levels")
        if self.patch % self.stride:
            raise ValueError(f"patch {self.patch} is no multiple of the total stride {self.stride}")
        return self

    @property
    def stride(self) -> int:
        """What the sides of a patch have to be multiples of, px."""
        if self.planes == 1 or self.context == "lean":
            return 1 << self.levels
        return max(4, 1 << (self.levels + 1 - self.planes))

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the network."""
        left_out = {"planes", "context"} if self.planes == 1 else set()
        return self.model_dump(exclude=left_out)


class ObjectiveSettings(_Frozen):
    """The objective; see `denoisplit.training.objective.combine`."""

    beta: NotNegative = 1.0  # 1 is the exact evidence bound; the published runs have beta = C
    # share of the steps over which beta rises from 0, so that splitting is learnt before thrift
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    kl_form: Literal["eq3", "eq4"] = "eq4"
    free_bits: NotNegative = 1.0  # nat per sample and level
    closed_form: bool = False
    # R + KL, R alone, or the PSNR of the noisy targets, on validation frames
    monitor: Literal["loss", "data", "psnr"] = "loss"


class DataSettings(_Frozen):
    """From image files to training pairs."""

    superposition: SuperpositionKind = "sum"
    pairing: Pairing = "co-registered"
    synthetic_poisson: NotNegative = 0.0  # f, raw intensity per event; 0 for none
    synthetic_gaussian: NotNegative = 0.0  # level: in units of the pooled std
    gaussian_sigma: NotNegative | None = None  # raw intensity, in place of the level
    clip_quantile: Annotated[float, Field(gt=0, le=1)] | None = None
    split: Literal["auto", "rounded", "spread", "truncated", "threes"] = (
        "auto"  # see `data.splits.rule_for`
    )
    augment: bool = True  # flips and rotations
    crop_candidates: Positive = 1  # places drawn for a crop; that of most contrast is taken
    binned_crops: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share, see `data.sums`
    stacked_crops: Annotated[float, Field(ge=0, lt=1)] = 0.0  # chance, see `data.sums`


class TrainingSettings(_Frozen):
    """The training loop."""

    batch: Positive = 32
    # crops that pass the network together, whose moments BatchNorm takes; None: all of a batch
    virtual_batch: Positive | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["plateau", "cosine"] = "plateau"
    # share of the steps at the full rate, before the cosine begins
    cosine_from: Annotated[float, Field(ge=0, lt=1)] = 0.0
    plateau_patience: Positive = 30  # epochs
    early_stop_patience: Positive = 200  # epochs
    max_epochs: Positive = 400
    max_steps: Positive | None = None
    min_steps_per_epoch: Positive = 1
    steps_per_epoch: Positive | None = None  # None: as many as the training frames fill with crops
    gradient_clip: Annotated[float, Field(gt=0)] | None = 0.5  # by norm; None: not at all
    # decay of the running mean of the weights, which is what is kept; 0: the weights themselves
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: TrainingPrecision = "auto"
    compile: bool = False  # the blocks of the network; takes a C++ compiler, for a GPU Triton

    @model_validator(mode="after")
    def _cosine_needs_an_end(self) -> TrainingSettings:
        if self.schedule == "cosine" and self.max_steps is None:
            raise ValueError("schedule cosine needs max_steps")
        return self


class DenoiserSettings(_Frozen):
    """The denoisers before a splitter (hdn_musplit): of each structure and of the mixed input."""

    samples: Annotated[int, Field(ge=2)] = 50  # whose mean is split
    network: NetworkSettings = NetworkSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()


class NoiseModelSettings(_Frozen):
    """Size and fit of the noise models."""

    # A: repeated shots, or simulated ones where noise is added; B: clean images and this noise;
    # C: noisy images alone; auto: the first of them that the images allow
    route: Route = "auto"
    components: Positive | None = None  # None: as few as held-out pairs call for
    coefficients: Positive = 4
    steps: Positive = 2000


class N2VSettings(_Frozen):
    """The Noise2Void denoiser, where a noise model comes from noisy images alone."""

    depth: Annotated[int, Field(gt=0, le=6)] = 2
    filters: Positive = 32
    patch: Positive = 64  # side of the training patch, px
    batch: Positive = 64
    masked: Annotated[float, Field(gt=0, lt=1)] = 0.002  # share of the pixels
    crop_candidates: Positive = 1  # as of the data
    neighbourhood: Annotated[int, Field(ge=3)] = 11  # side of the square a replacement is from, px
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    plateau_patience: Positive = 10  # epochs
    max_epochs: Positive = 100
    max_steps_per_epoch: Positive = 400
    max_steps: Positive | None = None  # exactly so many along a cosine; None: epochs and plateaus

    @model_validator(mode="after")
    def _sizes_fit(self) -> N2VSettings:
        if self.patch % 2**self.depth:
            raise ValueError(f"patch {self.patch} is no multiple of the stride {2**self.depth}")
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood {self.neighbourhood} has no middle: give an odd one")
        return self


class PredictionSettings(_Frozen):
    """Defaults of prediction for this run."""

    antithetic: bool = True
    calibration_samples: Annotated[int, Field(ge=2)] = 50
    calibration_form: CalibrationForm = "auto"  # see `denoisplit.evaluation.calibration.calibrate`
    tile: Positive | None = None  # side of a tile's core, px; None: as memory allows
    halo: Annotated[int, Field(ge=0)] | None = None  # px; None: measured on the trained network
    # px; metrics leave out rows and columns after its last multiple, as those of the paper do (64)
    judged_cell: Positive = 1


class Settings(_Frozen):
    """Everything that a user can set for a training run."""

    structures: tuple[StructureSettings, ...] = Field(min_length=1)
    system: System = "denoisplit"
    preset: Preset = "default"
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    network: NetworkSettings = NetworkSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    noise_model_fit: NoiseModelSettings = NoiseModelSettings()
    n2v: N2VSettings = N2VSettings()
    prediction: PredictionSettings = PredictionSettings()
    denoiser: DenoiserSettings | None = None  # of system hdn_musplit alone

    @model_validator(mode="after")
    def _chain_is_whole(self) -> Settings:
        if SYSTEMS[self.system].denoised != (self.denoiser is not None):
            raise ValueError(f"settings of denoisers with system hdn_musplit, not {self.system}")
        if self.denoiser is None:
            return self
        if self.network.planes == 1:
            raise ValueError("network.planes of 2 or more: the splitter of hdn_musplit has context")
        if self.data.pairing == "unrelated":
            raise ValueError(
                "data.pairing in-order or co-registered: whole mixed images are denoised, which "
                "crops of unrelated cells are no part of"
            )
        if MIXED in (name.lower() for name in self.names):
            raise ValueError(f"structures that are not named {MIXED!r}, as the mixed input is")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        names = [s.name for s in self.structures]
        doubled = sorted({n for n in names if [m.lower() for m in names].count(n.lower()) > 1})
        if doubled:
            raise ValueError(
                f"structure {doubled[0]!r} is given more than once: "
                "give each group of files a name of its own"
            )
        return self

    @model_validator(mode="after")
    def _system_takes_the_structures(self) -> Settings:
        if self.preset == "original" and self.system != "hdn":
            raise ValueError(f"preset original with system hdn, not {self.system}")
        if self.network.planes > 1 and not SYSTEMS[self.system].context:
            raise ValueError(
                f"network.planes {self.network.planes} with system {self.system}: "
                "only musplit and hdn_musplit see context"
            )
        expected = SYSTEMS[self.system].structures
        if expected not in (None, len(self.structures)):
            raise ValueError(
                f"system {self.system} with {expected} structure, not {len(self.structures)}: "
                "it denoises images of one structure, or mixed images as if they were one"
            )
        return self

    @model_validator(mode="after")
    def _halo_fits_stride(self) -> Settings:
        stride = self.network.stride
        if (self.prediction.halo or 0) % stride:
            raise ValueError(
                f"prediction.halo as a multiple of the total stride {stride}, "
                f"not {self.prediction.halo}"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the structures, in channel order."""
        return tuple(s.name for s in self.structures)


class Facts(_Frozen):
    """What training found in the data; later commands take it from here, never from new images."""

    gaussian_sigma: float  # of the synthetic noise, raw units
    pooled_std: float  # of the clean training frames, raw units
    clip: float | None  # upper clip of the structures, raw units
    input_frame_mean: tuple[float, float]  # mean and std over training frames, raw units
    input_noise_std: float  # estimated, raw units
    content_quantum: float  # raw units, for content-addressed noise
    frames: dict[str, int]  # per split
    held_out: dict[str, dict[str, list[int]]] = {}  # per structure; none where frames were cut
    pixel_size_um: dict[str, float]
    fingerprints: dict[str, list[dict[str, Any]]]  # per structure: name, size, sha256 of each file
    libraries: dict[str, str]


class RunConfig(_Frozen):
    """config.yaml of a run folder."""

    format_version: int
    settings: Settings
    facts: Facts


def settings_from(values: dict[str, Any], where: str | Path = "settings") -> Settings:
    """Settings from plain values laid over the preset they name.

    Raises
    ------
    InputError
        For an unknown key or a value out of range; ``where`` names their origin.
    """
    return parse(Settings, merged(base_values(values), values), where)
