"""No settings can ask for more memory than machines have; the error names the setting."""

from __future__ import annotations

from typing import Any

import pytest

from denoisplit.config.settings import Facts, Settings, settings_from
from denoisplit.errors import InputError

TWO: dict[str, Any] = {"structures": [{"name": n, "files": ["a.tif"]} for n in "AB"]}
HUGE = 10**15


@pytest.mark.parametrize(
    "name",
    [
        *("network.filters", "network.latents", "network.levels", "network.blocks_per_level"),
        *("network.final_blocks", "network.patch", "network.planes", "network.log_variance_max"),
        *("training.batch", "training.virtual_batch", "training.max_steps", "training.max_epochs"),
        *("training.learning_rate", "training.gradient_clip", "objective.beta"),
        *("data.crop_candidates", "data.synthetic_poisson", "data.gaussian_sigma"),
        *("noise_model_fit.components", "noise_model_fit.coefficients", "noise_model_fit.steps"),
        *("n2v.filters", "n2v.batch", "n2v.crop_candidates", "n2v.max_steps_per_epoch"),
        *("prediction.tile", "prediction.halo", "prediction.calibration_samples"),
        *("prediction.error_map_steps", "prediction.judged_cell", "seed"),
    ],
)
def test_a_huge_value_is_refused_by_name(name: str) -> None:
    group, _, key = name.rpartition(".")
    values = {group: {key: HUGE}} if group else {key: HUGE}
    with pytest.raises(InputError, match=rf"^settings: {name} = 10+ is not valid: .*less than"):
        settings_from(TWO | values)


@pytest.mark.parametrize("kind", [int, float])
def test_every_number_has_limits(kind: type) -> None:
    """Also those that are added later."""

    def unlimited(schema: dict[str, Any], name: str) -> list[str]:
        names = {int: "integer", float: "number"}
        options = schema.get("anyOf", [schema])
        top = ("maximum", "exclusiveMaximum")
        mine = [o for o in options if o.get("type") == names[kind] and "enum" not in o]
        return [name for o in mine if not any(key in o for key in top)]

    schema = Settings.model_json_schema()
    groups = {"": schema, **schema["$defs"], "facts": Facts.model_json_schema()}
    missing = [
        line
        for group, content in groups.items()
        for key, value in content["properties"].items()
        for line in unlimited(value, f"{group}.{key}")
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"network": {"filters": 512, "patch": 4096}, "training": {"batch": 4096}},
            "network.filters x training.batch x network.patch^2 is 35184372088832",
        ),
        (
            {"network": {"filters": 512}, "prediction": {"tile": 8192}},
            "prediction.tile and halo make patches of 8192 px",
        ),
        (
            {"structures": [{"name": f"A{n}", "files": ["a.tif"]} for n in range(65)]},
            "structures",
        ),
        (
            {"system": "hdn_musplit", "denoiser": {"training": {"batch": 4096},
             "network": {"filters": 512, "patch": 1024}}},
            "network.filters x training.batch",
        ),
    ],
)  # fmt: skip
def test_sizes_that_are_too_large_together(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=r"^settings: .+; ") as error:
        settings_from(TWO | values)
    assert says in str(error.value)
