"""All settings of a run.

``Settings`` is what a user can set (command line or YAML); ``RunConfig`` is what a run folder
stores: the settings, resolved, and facts about the training data. Unknown keys are errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, model_validator

from denoisplit.config.groups import (
    AboveZero,
    DataSettings,
    DenoiserSettings,
    Frozen,
    N2VSettings,
    NetworkSettings,
    NoiseModelSettings,
    ObjectiveSettings,
    PredictionSettings,
    Preset,
    StructureSettings,
    System,
    TrainingSettings,
    setting,
)
from denoisplit.config.presets import base_values, merged
from denoisplit.config.seeds import SEEDS
from denoisplit.config.systems import SYSTEMS
from denoisplit.config.validation import parse
from denoisplit.files.bounded import LARGEST

FORMAT_VERSION = 2
# raw units; the input may be a sum of many structures
Intensity = Annotated[float, Field(ge=-100 * LARGEST, le=100 * LARGEST)]
Spread = Annotated[float, Field(ge=0, le=100 * LARGEST)]
Count = Annotated[int, Field(ge=0, le=10**9)]
MOST_FEATURES = 2**32  # values of a layer's output: 16 GB
MIXED = "mixed"  # the denoiser of the mixed input


class Settings(Frozen):
    """Everything that a user can set for a training run."""

    structures: tuple[StructureSettings, ...] = Field(
        min_length=1, max_length=64, description="The structures."
    )
    system: System = setting("denoisplit", "System of the paper: network, objective and data term.")
    preset: Preset = setting(
        "default",
        "Named set of defaults: small takes minutes on two cores, medium four times as many steps; "
        "paper is the published configuration; original is that of Prakash et al. (2021), for "
        "system hdn only.",
    )
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = setting(0, "Random seed.")
    network: NetworkSettings = setting(NetworkSettings(), "Sizes of the network.")
    objective: ObjectiveSettings = setting(ObjectiveSettings(), "Loss, and choice of the epoch.")
    data: DataSettings = setting(DataSettings(), "From image files to training pairs.")
    training: TrainingSettings = setting(TrainingSettings(), "The training loop.")
    noise_model_fit: NoiseModelSettings = setting(NoiseModelSettings(), "Fit of noise models.")
    n2v: N2VSettings = setting(N2VSettings(), "Noise2Void denoiser, for noisy images alone.")
    prediction: PredictionSettings = setting(PredictionSettings(), "Defaults of prediction.")
    denoiser: DenoiserSettings | None = setting(None, "Denoisers of system hdn_musplit.")

    @model_validator(mode="after")
    def _chain_is_complete(self) -> Settings:
        if SYSTEMS[self.system].denoised != (self.denoiser is not None):
            raise ValueError(
                "denoiser settings belong to system hdn_musplit, and to no other; "
                f"the system is {self.system}"
            )
        if self.denoiser is None:
            return self
        if self.network.planes == 1:
            raise ValueError("network.planes must be 2 or more for system hdn_musplit")
        if self.data.pairing == "unrelated":
            raise ValueError(
                "data.pairing must be in-order or co-registered for system hdn_musplit: it "
                "denoises whole mixed images, which unrelated crops do not form"
            )
        if MIXED in (name.lower() for name in self.names):
            raise ValueError(
                f"no structure may be named {MIXED!r} with system hdn_musplit: "
                "the mixed input has that name"
            )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        names = [s.name for s in self.structures]
        doubled = sorted({n for n in names if [m.lower() for m in names].count(n.lower()) > 1})
        if doubled:
            raise ValueError(
                f"structure {doubled[0]!r} is given more than once; "
                "names must differ in more than upper and lower case"
            )
        return self

    @model_validator(mode="after")
    def _system_takes_the_structures(self) -> Settings:
        system = SYSTEMS[self.system]
        if self.preset == "original" and self.system != "hdn":
            raise ValueError(f"preset original is for system hdn only, not for {self.system}")
        if self.objective.monitor == "risk" and not system.noise_models:
            raise ValueError(
                f"objective.monitor must not be risk for system {self.system}: "
                "only systems with noise models can estimate the risk"
            )
        if self.network.planes > 1 and not system.context:
            raise ValueError(
                f"network.planes must be 1 for system {self.system}: "
                "only musplit and hdn_musplit use context"
            )
        if system.structures not in (None, len(self.structures)):
            raise ValueError(
                f"system {self.system} takes {system.structures} structure, not "
                f"{len(self.structures)}: it denoises images of one structure, or mixed images"
            )
        return self

    @model_validator(mode="after")
    def _halo_fits_stride(self) -> Settings:
        stride, halo = self.network.stride, self.prediction.halo
        if (halo or 0) % stride:
            raise ValueError(
                f"prediction.halo must be a multiple of the network's total stride {stride}, "
                f"not {halo}"
            )
        return self

    @model_validator(mode="after")
    def _features_fit_memory(self) -> Settings:
        for network, training in (
            (self.network, self.training),
            *([(self.denoiser.network, self.denoiser.training)] if self.denoiser else []),
        ):
            features = network.filters * training.batch * network.patch**2
            if features > MOST_FEATURES:
                raise ValueError(
                    f"network.filters x training.batch x network.patch^2 is {features}, but at "
                    f"most {MOST_FEATURES} feature values per layer are possible"
                )
        side = (self.prediction.tile or 0) + 2 * (self.prediction.halo or 0)
        if self.network.filters * side**2 > MOST_FEATURES:
            raise ValueError(
                f"prediction.tile and halo make patches of {side} px, which are too large for "
                f"{self.network.filters} filters: at most {MOST_FEATURES} feature values per "
                "layer are possible"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the structures, in channel order."""
        return tuple(s.name for s in self.structures)


class Facts(Frozen):
    """Facts about the training data, measured once; later commands never measure new images."""

    gaussian_sigma: Spread  # of the synthetic noise, raw units
    pooled_std: Spread  # of the clean training frames, raw units
    clip: Intensity | None  # upper clip of the structures, raw units
    input_frame_mean: tuple[Intensity, Spread]  # mean and std over training frames, raw units
    input_range: tuple[Intensity, Intensity] | None = None  # None for a run of an older release
    input_noise_std: Spread  # estimated, raw units
    content_quantum: Spread  # raw units, for content-addressed noise
    frames: dict[str, Count]  # per split
    frame_sizes: list[tuple[Count, Count]] = Field(default_factory=list)  # distinct (Y, X), px
    # numbers of the frames per structure and split; none where frames were cut
    held_out: dict[str, dict[str, list[Count]]] = Field(default_factory=dict)
    pixel_size_um: dict[str, AboveZero]
    fingerprints: dict[str, list[dict[str, Any]]]  # per structure: name, size, sha256 of each file
    truth: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)  # the same; none without
    libraries: dict[str, str]


class RunConfig(Frozen):
    """Content of a run folder's config.yaml."""

    format_version: int
    created: AwareDatetime | None = None  # None for a run of an older release
    settings: Settings
    facts: Facts


def settings_from(values: dict[str, Any], where: str | Path = "settings") -> Settings:
    """Build settings from plain values laid over the preset that they name.

    Raises
    ------
    InputError
        For an unknown key or a value out of range; ``where`` names their origin.
    """
    return parse(Settings, merged(base_values(values), values), where)
