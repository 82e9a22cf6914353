"""Import of weights that other implementations of the same network have trained.

These are CAREamics' ``LadderVAE`` (tested against its own output) and the published denoiSplit,
which differs in the names of the output layer and of the modules around the network (tested with
renamed weights, as no published file was available).
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
from denoisplit.network.vse import VSE

MOST_LEVELS = 4  # deeper networks there scale the posterior depending on the level
# names of the modules around the network, in a checkpoint of a whole training
WRAPPERS = re.compile(
    r"^(\w+\.)*?(?=(first_bottom_up|bottom_up_layers|top_down_layers|final_top_down|output_layer"
    r"|likelihood|parameter_net|lowres_)\w*\.)"
)

# names there -> here; {up N} stands for level N of the decoder
LAYER_NAMES = (
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
DECODER_LEVEL = re.compile(r"top_down_layers\.(\d+)\.")
# not part of the network: the same weights a second time, statistics of the data, noise models
IGNORED = re.compile(r"parameter_net|likelihoodNM|noiseModel|likelihood\.noise|data_mean|data_std")


def import_weights(
    weights: str | Path | Mapping[str, Any],
    *,
    input_mean: float = 0.0,
    input_std: float = 1.0,
    target_mean: Sequence[float] | None = None,
    target_std: Sequence[float] | None = None,
) -> VSE:
    """Build a network from the weights of another implementation.

    Parameters
    ----------
    weights : path or mapping
        State dict, or checkpoint with one under ``state_dict``, of CAREamics' LVAE (0.3.5) or of
        the published denoiSplit, without lateral context and with at most four levels. Files are
        read as tensors; nothing in them is executed.
    input_mean, input_std : float
        Raw intensities by which the input was normalised in training.
    target_mean, target_std : sequence of float, optional
        The same for each structure. By default 0 and 1, so that predictions are in normalised
        units.

    Returns
    -------
    VSE
        In evaluation mode, on the CPU. Its sizes are read from the weights. Use it with
        `denoisplit.prediction.frame.predict_frame`.

    Raises
    ------
    InputError
        If the file is unreadable or holds the weights of another network.
    """
    where = weights if isinstance(weights, str | Path) else "weights"
    source = _read_state_dict(weights, where)
    levels = 1 + max(int(match[1]) for name in source if (match := DECODER_LEVEL.match(name)))
    if levels > MOST_LEVELS:
        problem = f"this network has {levels} levels, and at most {MOST_LEVELS} can be imported"
        raise InputError(problem, where=where)
    state = _renamed(source, levels, where)
    try:
        prior = state["decoder.top.prior_parameters"]
        planes = state["output.weight"].shape[0]
        structures = planes if target_mean is None else len(target_mean)
        if planes not in (structures, 2 * structures):
            raise InputError(
                f"a network with {planes} output planes is not one of {structures} structures",
                where=where,
                remedy="give `target_mean` and `target_std` one value per structure",
            )
        with torch.random.fork_rng(devices=[]):  # the initial weights are not used
            model = VSE(
                structures,
                log_variance=planes > structures,
                filters=state["encoder.first.0.weight"].shape[0],
                latents=prior.shape[1] // 2,
                levels=levels,
                patch=prior.shape[-1] * 2**levels,
                final_blocks=len(
                    {name.split(".")[1] for name in state if name.startswith("final.")}
                ),
            )
        keys = model.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError) as error:
        reason = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise _other_network(where, reason) from None
    buffers = {"input_mean", "input_std", "target_mean", "target_std"}
    missing = sorted(set(keys.missing_keys) - buffers)
    if missing or keys.unexpected_keys:
        reason = f"{missing[0]} is missing" if missing else keys.unexpected_keys[0]
        raise _other_network(where, reason)
    model.input_mean.fill_(input_mean)
    model.input_std.fill_(input_std)
    for name, values in (("target_mean", target_mean), ("target_std", target_std)):
        if values is not None:
            if len(values) != structures:
                problem = f"there are {len(values)} values for {structures} structures"
                raise InputError(problem, where=name)
            getattr(model, name).copy_(torch.tensor(values))
    return model.eval()


def _read_state_dict(
    weights: str | Path | Mapping[str, Any], where: str | Path
) -> dict[str, Tensor]:
    """Return tensors by name, without the names of wrapping modules."""
    values: Any = weights
    if isinstance(weights, str | Path):
        try:
            values = read_tensors(Path(weights).read_bytes())
        except OSError as error:
            raise InputError(
                f"this file cannot be read ({error.strerror})",
                where=where,
                remedy="check the file name and the permissions",
            ) from None
        except ValueError as error:
            raise InputError(
                f"this file is not a plain state dict ({error})",
                where=where,
                remedy="save the state dict only: torch.save(model.state_dict(), ...)",
            ) from None
    if isinstance(values, Mapping) and isinstance(values.get("state_dict"), Mapping):
        values = values["state_dict"]
    if not isinstance(values, Mapping):
        raise _other_network(where, f"a {type(values).__name__}")
    tensors = {WRAPPERS.sub("", str(k)): v for k, v in values.items() if torch.is_tensor(v)}
    if not any(DECODER_LEVEL.match(name) for name in tensors):
        raise _other_network(where, "no top_down_layers")
    return tensors


def _renamed(source: Mapping[str, Tensor], levels: int, where: str | Path) -> dict[str, Tensor]:
    """Rename the layers; raise for one that this network does not have."""
    state: dict[str, Tensor] = {}
    for name, value in source.items():
        for pattern, replacement in LAYER_NAMES:
            if match := re.match(pattern, name):
                state[_level(match.expand(replacement) + name[match.end() :], levels)] = value
                break
        else:
            if not IGNORED.search(name):
                raise _other_network(where, name)
    return state


def _level(name: str, levels: int) -> str:
    """Fill in the level; the coarsest is the last there, and stands apart here."""
    return re.sub(
        r"\{up (\d+)\}",
        lambda m: "decoder.top" if int(m[1]) == levels - 1 else f"decoder.levels.{m[1]}",
        name,
    )


def _other_network(where: str | Path, reason: str) -> InputError:
    return InputError(
        f"these are not the weights of CAREamics' LadderVAE or of denoiSplit ({reason})",
        where=where,
        remedy="networks with lateral context and other networks cannot be imported",
    )
