"""Weights of other implementations of the same network, by the names that these give them.

CAREamics' ``LadderVAE`` (tested against its own output) and the published denoiSplit, whose names
are the same but for the output layer and what surrounds the network (tested on names only: no file
of theirs was at hand).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoisplit.errors import InputError
from denoisplit.files.tensors import read_tensors
from denoisplit.network import VSE

MOST_LEVELS = 4  # deeper ladders of theirs divide the posterior by a number of the level
# what wraps the network, in a checkpoint of a whole training
PREFIX = re.compile(
    r"^(\w+\.)*?(?=(first_bottom_up|bottom_up_layers|top_down_layers|final_top_down|output_layer"
    r"|likelihood|parameter_net|lowres_)\w*\.)"
)

# their names -> ours; {up} is what stands for a level of the decoder
NAMES = (
    (r"first_bottom_up\.0\.", "encoder.first.0."),
    (r"first_bottom_up\.2\.res\.block\.", "encoder.first.2.body."),
    (r"bottom_up_layers\.(\d+)\.net_downsized\.0\.pre_conv\.", r"encoder.levels.\1.0.0."),
    (r"bottom_up_layers\.(\d+)\.net_downsized\.0\.res\.block\.", r"encoder.levels.\1.0.1.body."),
    (r"top_down_layers\.(\d+)\.top_prior_params", r"{up \1}.prior_parameters"),
    (r"top_down_layers\.(\d+)\.deterministic_block\.0\.pre_conv\.", r"{up \1}.up.0.0."),
    (r"top_down_layers\.(\d+)\.deterministic_block\.0\.res\.block\.", r"{up \1}.up.0.1.body."),
    (r"top_down_layers\.(\d+)\.stochastic\.conv_in_p\.", r"{up \1}.prior_conv."),
    (r"top_down_layers\.(\d+)\.stochastic\.conv_in_q\.", r"{up \1}.posterior_conv."),
    (r"top_down_layers\.(\d+)\.stochastic\.conv_out\.", r"{up \1}.latent_out."),
    (r"top_down_layers\.(\d+)\.merge\.layer\.0\.", r"{up \1}.posterior_merge.conv."),
    (r"top_down_layers\.(\d+)\.merge\.layer\.1\.block\.", r"{up \1}.posterior_merge.block.body."),
    (r"top_down_layers\.(\d+)\.skip_connection_merger\.layer\.0\.", r"{up \1}.skip_merge.conv."),
    (
        r"top_down_layers\.(\d+)\.skip_connection_merger\.layer\.1\.block\.",
        r"{up \1}.skip_merge.block.body.",
    ),
    (r"final_top_down\.(\d+)\.res\.block\.", r"final.\1.body."),
    (r"(output_layer|likelihood\.parameter_net)\.", "output."),
)
# the same weights once more, statistics of the data, noise models: not of the network
BESIDE = re.compile(r"(parameter_net|likelihoodNM|noiseModel|likelihood\.noise|data_mean|data_std)")


def import_weights(
    weights: str | Path | Mapping[str, Any],
    *,
    input_mean: float = 0.0,
    input_std: float = 1.0,
    target_mean: Sequence[float] | None = None,
    target_std: Sequence[float] | None = None,
) -> VSE:
    """A network of this package with weights that another one has trained.

    Parameters
    ----------
    weights : path or mapping
        A state dict, or a checkpoint with one under ``state_dict``, of CAREamics' LVAE (0.3.5) or
        of the published denoiSplit, without lateral context and with at most four levels. Files are
        read as tensors; nothing in them is executed.
    input_mean, input_std : float
        What the other program normalised its input with, raw intensity.
    target_mean, target_std : sequence of float, optional
        Of each structure; by default 0 and 1, which leaves predictions in normalised units.

    Returns
    -------
    VSE
        In evaluation mode, on the CPU; sizes are read off the weights. To be used with
        `denoisplit.prediction.frame.predict_frame`.

    Raises
    ------
    InputError
        If the file is unreadable or holds the weights of another network.
    """
    where = weights if isinstance(weights, str | Path) else "state dict"
    theirs = _state_dict(weights, where)
    levels = 1 + max(int(match[1]) for name in theirs if (match := _LEVEL.match(name)))
    if levels > MOST_LEVELS:
        raise InputError(
            where=where,
            found=f"{levels} levels",
            expected=f"at most {MOST_LEVELS}",
            remedy="give a network with fewer levels",
        )
    ours = _renamed(theirs, levels, where)
    try:
        filters = ours["encoder.first.0.weight"].shape[0]
        planes = ours["output.weight"].shape[0]
        prior = ours["decoder.top.prior_parameters"]
        structures = planes if target_mean is None else len(target_mean)
        if planes not in (structures, 2 * structures):
            raise InputError(
                where=where,
                found=f"{planes} output planes",
                expected=f"{structures} or {2 * structures} for {structures} structures",
                remedy="give the mean and std of each structure",
            )
        model = VSE(
            structures,
            log_variance=planes > structures,
            filters=filters,
            latents=prior.shape[1] // 2,
            levels=levels,
            patch=prior.shape[-1] * 2**levels,
            final_blocks=len({name.split(".")[1] for name in ours if name.startswith("final.")}),
        )
        missing = model.load_state_dict(ours, strict=False)
    except (KeyError, RuntimeError) as error:
        reason = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise _other(where, reason) from None
    buffers = {"input_mean", "input_std", "target_mean", "target_std"}
    lacking = sorted(set(missing.missing_keys) - buffers)
    if lacking or missing.unexpected_keys:
        raise _other(where, f"without {lacking[0]}" if lacking else missing.unexpected_keys[0])
    model.input_mean.fill_(input_mean)
    model.input_std.fill_(input_std)
    for buffer, given in ((model.target_mean, target_mean), (model.target_std, target_std)):
        if given is not None:
            if len(given) != structures:
                raise InputError(
                    where="target_mean and target_std",
                    found=f"{len(given)} values",
                    expected=f"one for each of the {structures} structures",
                    remedy="give as many",
                )
            buffer.copy_(torch.tensor(given))
    return model.eval()


_LEVEL = re.compile(r"top_down_layers\.(\d+)\.")


def _state_dict(weights: str | Path | Mapping[str, Any], where: str | Path) -> dict[str, Tensor]:
    """Tensors by their names, without what stands before and beside the network."""
    values: Any = weights
    if isinstance(weights, str | Path):
        try:
            values = read_tensors(Path(weights).read_bytes())
        except OSError as error:
            raise InputError(
                where=where,
                found=f"no readable file ({error.strerror})",
                expected="weights",
                remedy="check name and rights",
            ) from None
        except ValueError as error:
            raise InputError(
                where=where,
                found=f"no plain state dict ({error})",
                expected="tensors by their names",
                remedy="save the state dict alone: torch.save(model.state_dict(), ...)",
            ) from None
    if isinstance(values, Mapping) and isinstance(values.get("state_dict"), Mapping):
        values = values["state_dict"]
    if not isinstance(values, Mapping):
        raise _other(where, f"a {type(values).__name__}")
    found = {}
    for name, value in values.items():
        if torch.is_tensor(value):
            found[PREFIX.sub("", str(name))] = value
    if not any(_LEVEL.match(name) for name in found):
        raise _other(where, "no top_down_layers")
    return found


def _renamed(theirs: Mapping[str, Tensor], levels: int, where: str | Path) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for name, value in theirs.items():
        for pattern, ours_is in NAMES:
            if match := re.match(pattern, name):
                renamed = match.expand(ours_is) + name[match.end() :]
                ours[_level(renamed, levels)] = value
                break
        else:
            if not BESIDE.search(name):
                raise _other(where, name)
    return ours


def _level(name: str, levels: int) -> str:
    """The top lies beside the other levels here, and last among them there."""
    return re.sub(
        r"\{up (\d+)\}",
        lambda m: "decoder.top" if int(m[1]) == levels - 1 else f"decoder.levels.{m[1]}",
        name,
    )


def _other(where: str | Path, found: str) -> InputError:
    return InputError(
        where=where,
        found=f"weights of another network ({found})",
        expected="those of CAREamics' LadderVAE or of denoiSplit, without lateral context",
        remedy="give the state dict of such a network",
    )
