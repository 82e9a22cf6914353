"""Defaults of presets and systems, as plain values; the user's settings take precedence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# shorter trainings: HDN, muSplit with five planes, and task T9
SHORT = {"plateau_patience": 15, "early_stop_patience": 100, "max_epochs": 200}
QUICK = ("small", "medium")  # presets for a machine without a GPU
# their learning rates, and steps of small; Muon needs half as many, see benchmarks/README.md
OPTIMISERS = {"muon": (0.02, 800), "adamax": (0.002, 1600)}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated by ``over``, group by group."""
    values = dict(base)
    for key, value in over.items():
        inner = values.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        values[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return values


def base_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of the preset and system that a user's values name."""
    preset, structures = values.get("preset", "default"), values.get("structures")
    count = len(structures) if isinstance(structures, list | tuple) else 1
    base = merged(_of_preset(preset, count), system_preset(values.get("system"), preset, count))
    training = _group(values, "training")
    base = merged(base, {"training": _of_adamax(preset, training)})
    if "denoiser" in base:
        # the optimiser and the number of steps apply to every network
        own = training | _group(_group(values, "denoiser"), "training")
        steps = {"max_steps": training["max_steps"]} if "max_steps" in training else {}
        base = merged(base, {"denoiser": {"training": _of_adamax(preset, own) | steps}})
    return base


def _group(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a group of a user's values, empty where it is absent or no group."""
    group = values.get(name)
    return group if isinstance(group, dict) else {}


def _of_adamax(preset: str, training: dict[str, Any]) -> dict[str, Any]:
    """Return what a user's choice of Adamax changes in a preset that has Muon."""
    wanted = preset in QUICK and training.get("optimiser") == "adamax"
    return quick_training(preset, "adamax") if wanted else {}


def _of_preset(preset: str, structures: int) -> dict[str, Any]:
    """Return the settings of a preset, of any system, that differ from the defaults."""
    if preset in QUICK:
        return quick_preset(preset)
    return paper_preset(structures) if preset == "paper" else {}


def quick_preset(preset: str) -> dict[str, Any]:
    """Return a preset for minutes on two cores: fewer filters and steps, smaller patch and batch.

    What each choice gains is measured in benchmarks/README.md.
    """
    return {
        # few steps leave nothing to regularise, and unused latents add noise to the samples
        "network": {"filters": 32, "latents": 8, "patch": 64, "dropout": 0.0},
        # less noise in the gradient, and splitting is learnt before the KL penalty takes over
        "objective": {"closed_form": True, "warm_up": 0.3},
        # avoid empty crops; sums of crops cover images that are brighter and denser
        "data": {"crop_candidates": 8, "binned_crops": 0.55, "stacked_crops": 0.5},
        "training": {
            **quick_training(preset),
            "batch": 8,
            "schedule": "cosine",
            "min_steps_per_epoch": 100,
            # the average of the last steps has a smaller error than any of them
            "weight_averaging": 0.99,
        },
        # the closed form weighs dim pixels most, whose spread a short training overestimates
        # 16 antithetic samples have the mean of 50, and their spread
        "prediction": {"calibration_form": "ratio", "calibration_samples": 16},
        # half the filters take a quarter of the time
        "n2v": {
            "filters": 16,
            "batch": 8,
            "masked": 0.03,
            "learning_rate": 2e-3,
            "max_steps": 1500,
            "crop_candidates": 4,
        },
    }


def quick_training(preset: str, optimiser: str = "muon") -> dict[str, Any]:
    """Return learning rate and steps of an optimiser: in medium four times as many as in small."""
    rate, steps = OPTIMISERS[optimiser]
    steps *= 4 if preset == "medium" else 1
    return {"optimiser": optimiser, "learning_rate": rate, "max_steps": steps}


def paper_preset(structures: int) -> dict[str, Any]:
    """Return the published configuration, where it differs from the defaults."""
    return {
        # weight 1 on the KL beside a data term that is a mean over structures: beta = C
        "objective": {"beta": float(structures), "monitor": "data"},
        "noise_model_fit": {"components": 6},
        "data": {
            "superposition": "mean",
            "pairing": "in-order",
            "clip_quantile": 1.0,
            "split": "truncated",
            "augment": False,
        },
        "prediction": {"antithetic": False, "error_map": False},
    }


def system_preset(system: str | None, preset: str, structures: int) -> dict[str, Any]:
    """Return the settings of a system that differ from those of denoiSplit."""
    if system in ("musplit", "hdn_musplit"):
        values: dict[str, Any] = {
            "network": {"planes": 3, "patch": 64},
            # weight 1 on the KL beside a data term that is a mean over structures
            "objective": {"kl_form": "eq3", "free_bits": 0.0, "beta": float(structures)},
        }
        return merged(values, _chain(preset)) if system == "hdn_musplit" else values
    if system != "hdn":
        return {}
    values = {
        "network": {"variance": "exp", "log_variance_max": None},
        "objective": {"closed_form": True},
    }
    if preset in QUICK:
        return values
    values["network"] |= {
        "filters": 32,
        "latents": 32,
        "levels": 6,
        "blocks_per_level": 5,
        "final_blocks": 5,
        "dropout": 0.2,
    }
    if preset == "original":
        return merged(values, original_hdn())
    values["training"] = dict(SHORT)
    return values


def original_hdn() -> dict[str, Any]:
    """Return HDN of Prakash et al. (2021), where it differs from that of denoiSplit's authors."""
    return {
        "network": {"filters": 64, "patch": 64, "first_kernel": 5},
        "data": {"augment": True},
        "training": {
            # moments of BatchNorm over 8 crops, gradient over 64
            "batch": 64,
            "virtual_batch": 8,
            "learning_rate": 3e-4,
            "plateau_patience": 10,
            "early_stop_patience": 100,  # as in their program; the article gives none
            "max_epochs": 500,
            "steps_per_epoch": 400,
            "gradient_clip": None,
            "precision": "32",
        },
    }


def _chain(preset: str) -> dict[str, Any]:
    """Return the settings of HDN(+)muSplit that differ from muSplit, and those of its denoisers."""
    denoiser = merged(_of_preset(preset, 1), system_preset("hdn", preset, 1))
    groups = {key: denoiser[key] for key in ("network", "objective", "training") if key in denoiser}
    if preset in QUICK:  # five planes see 1024 px, more than small images have
        return {"objective": {"monitor": "psnr"}, "denoiser": groups | {"samples": 8}}
    return {
        "network": {"planes": 5},
        "objective": {"monitor": "psnr"},
        "training": dict(SHORT),
        "denoiser": groups,
    }
