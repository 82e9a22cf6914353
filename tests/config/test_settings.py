"""Settings: defaults and presets of the method, and one line for whatever does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from denoisplit.config.settings import Settings, settings_from
from denoisplit.config.systems import SYSTEMS
from denoisplit.config.validation import parse
from denoisplit.errors import InputError
from denoisplit.files.yaml_file import read_yaml
from denoisplit.training.schedule import schedule

TWO = [{"name": "ER", "files": ["er.tif"]}, {"name": "MT", "files": ["mt.tif"]}]


def settings(**values: Any) -> Settings:
    return settings_from({"structures": TWO} | values, "my.yaml")


def refusal(values: dict[str, Any]) -> str:
    """The one line that bad values end with."""
    with pytest.raises(InputError) as caught:
        settings_from(values, "my.yaml")
    text = str(caught.value)
    assert text.startswith("my.yaml: ")
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- values


def test_defaults_are_those_of_the_method() -> None:
    s = settings()
    assert s.names == ("ER", "MT")
    n = s.network
    assert (n.filters, n.latents, n.levels, n.blocks_per_level, n.final_blocks) == (
        64,
        128,
        4,
        1,
        1,
    )
    assert (n.dropout, n.patch, n.variance, n.log_variance_max) == (0.1, 128, "soft_exp", 20)
    o = s.objective
    assert (o.beta, o.kl_form, o.free_bits, o.closed_form, o.monitor) == (
        1,
        "eq4",
        1,
        False,
        "loss",
    )
    t = s.training
    assert (t.batch, t.learning_rate, t.max_epochs, t.gradient_clip) == (32, 1e-3, 400, 0.5)
    assert (t.schedule, t.plateau_patience, t.early_stop_patience) == ("plateau", 30, 200)
    assert (s.noise_model_fit.components, s.noise_model_fit.coefficients) == (None, 4)
    assert s.noise_model_fit.steps == 2000
    assert s.data.superposition == "sum"
    assert s.data.split == "auto"
    assert s.data.augment
    assert s.prediction.antithetic
    assert s.prediction.calibration_samples == 50
    assert s.seed == 0


def test_musplit_sees_context_and_has_its_own_kl() -> None:
    s = settings(system="musplit")
    assert (s.network.planes, s.network.context, s.network.patch, s.network.stride) == (
        3, "regular", 64, 4,
    )  # fmt: skip
    o = s.objective
    assert (o.kl_form, o.free_bits, o.beta) == ("eq3", 0, 2)
    small = settings(system="musplit", preset="small")
    assert (small.network.filters, small.network.planes) == (32, 3)
    assert small.training == settings(preset="small").training
    wide = {"system": "musplit", "structures": TWO, "network": {"planes": 6}}
    assert "too many for 4 levels" in refusal(wide)
    assert "only musplit and hdn_musplit use context" in refusal(
        {"structures": TWO, "network": {"planes": 3}}
    )
    lean = {"planes": 3, "context": "lean", "patch": 40}
    assert "total stride 16" in refusal({**wide, "network": lean})


def test_hdn_has_its_own_sizes() -> None:
    one = {"structures": TWO[:1], "system": "hdn"}
    for preset in ("default", "paper"):
        s = settings_from(one | {"preset": preset, "network": {"levels": 3}})
        n, t = s.network, s.training
        assert (n.filters, n.latents, n.levels, n.patch, n.dropout) == (32, 32, 3, 128, 0.2)
        assert (n.blocks_per_level, n.final_blocks) == (5, 5)
        assert (n.variance, n.log_variance_max) == ("exp", None)
        assert (t.plateau_patience, t.early_stop_patience, t.max_epochs) == (15, 100, 200)
        assert s.objective.closed_form and s.objective.beta == 1
    small, denoisplit = (
        settings_from({"preset": "small"} | given) for given in (one, {"structures": TWO})
    )
    same = {"variance": "exp", "log_variance_max": None}
    assert small.network == denoisplit.network.model_copy(update=same)
    assert small.training == denoisplit.training
    assert "denoises images of one structure" in refusal({"structures": TWO, "system": "hdn"})


def test_the_original_hdn_is_that_of_its_authors() -> None:
    one = {"structures": TWO[:1], "system": "hdn", "preset": "original"}
    s = settings_from(one)
    n, t = s.network, s.training
    assert (n.filters, n.latents, n.levels, n.patch, n.dropout) == (64, 32, 6, 64, 0.2)
    assert (n.blocks_per_level, n.final_blocks, n.first_kernel) == (5, 5, 5)
    assert (n.variance, n.log_variance_max) == ("exp", None)
    assert (t.batch, t.virtual_batch, t.learning_rate, t.precision) == (64, 8, 3e-4, "32")
    assert (t.plateau_patience, t.gradient_clip, t.schedule) == (10, None, "plateau")
    for crops in (1, 10**6):
        plan = schedule(s, crops)
        assert (plan.epochs, plan.steps_per_epoch) == (500, 400)
    assert (s.objective.closed_form, s.objective.beta, s.objective.free_bits) == (True, 1, 1)
    assert s.objective.monitor == "loss" and s.data.augment
    assert parse(Settings, yaml.safe_load(yaml.safe_dump(s.model_dump(mode="json"))), "x") == s
    assert settings_from(one | {"network": {"first_kernel": 3}}).network.first_kernel == 3
    assert "network.first_kernel = 4" in refusal(one | {"network": {"first_kernel": 4}})


@pytest.mark.parametrize("system", sorted(set(SYSTEMS) - {"hdn"}))
def test_other_systems_have_no_original(system: str) -> None:
    given = {"structures": TWO, "system": system, "preset": "original"}
    assert f"preset original is for system hdn only, not for {system}" in refusal(given)


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_preset_paper_is_the_published_configuration(structures: int) -> None:
    given = [{"name": f"s{k}", "files": ["a.tif"]} for k in range(structures)]
    s = settings_from({"preset": "paper", "structures": given})
    # a data term that is a mean over C structures with weight 1 on the KL
    assert s.objective.beta == structures
    assert s.objective.monitor == "data"
    assert (s.objective.kl_form, s.objective.free_bits, s.objective.closed_form) == (
        "eq4",
        1,
        False,
    )
    d = s.data
    assert (d.superposition, d.pairing, d.clip_quantile) == ("mean", "in-order", 1.0)
    assert (d.split, d.augment) == ("truncated", False)
    assert s.noise_model_fit.components == 6
    assert not s.prediction.antithetic
    assert s.network == settings().network
    assert s.training == settings().training


def test_preset_small_runs_in_minutes() -> None:
    s = settings(preset="small")
    assert (s.network.filters, s.network.latents, s.network.patch) == (32, 8, 64)
    assert s.network.dropout == 0
    assert (s.training.batch, s.training.max_steps, s.training.schedule) == (8, 800, "cosine")
    assert (s.training.optimiser, s.training.learning_rate) == ("muon", 0.02)
    assert s.objective == settings(objective={"closed_form": True, "warm_up": 0.3}).objective
    assert (
        s.data
        == settings(data={"crop_candidates": 8, "binned_crops": 0.55, "stacked_crops": 0.5}).data
    )
    assert s.prediction.calibration_form == "ratio"


@pytest.mark.parametrize("system", ["denoisplit", "hdn", "hdn_musplit"])
def test_preset_medium_is_a_longer_small_one(system: str) -> None:
    structures = TWO[:1] if system == "hdn" else TWO
    small, medium = (
        settings(preset=preset, system=system, structures=structures)
        for preset in ("small", "medium")
    )
    assert medium.training.max_steps == 4 * small.training.max_steps  # type: ignore[operator]
    steps = {"training": {"max_steps": small.training.max_steps}}
    assert settings(
        **steps, preset="medium", system=system, structures=structures
    ) == small.model_copy(update={"preset": "medium"})


@pytest.mark.parametrize("preset", ["small", "medium"])
@pytest.mark.parametrize("system", ["denoisplit", "musplit", "hdn_musplit"])
def test_adamax_has_steps_and_rate_of_its_own_in_every_network(preset: str, system: str) -> None:
    usual = settings(preset=preset, system=system).training
    made = settings(preset=preset, system=system, training={"optimiser": "adamax"})
    for training in (made.training, *([made.denoiser.training] if made.denoiser else [])):
        assert training.optimiser == "adamax" and training.learning_rate == 2e-3
        assert training.max_steps == 2 * usual.max_steps  # type: ignore[operator]
    few = {"optimiser": "adamax", "max_steps": 7}
    assert settings(preset=preset, system=system, training=few).training.max_steps == 7


def test_the_denoiser_may_have_another_optimiser() -> None:
    for own, common in (("adamax", "muon"), ("muon", "adamax")):
        s = settings(
            preset="small", system="hdn_musplit", training={"optimiser": common},
            denoiser={"training": {"optimiser": own}},
        )  # fmt: skip
        assert s.denoiser is not None
        for training, name in ((s.training, common), (s.denoiser.training, own)):
            rate_and_steps = (2e-3, 1600) if name == "adamax" else (0.02, 800)
            assert training.optimiser == name
            assert (training.learning_rate, training.max_steps) == rate_and_steps


@pytest.mark.parametrize("wrong", [["muon"], {"a": 1}, None, "sgd"])
def test_an_optimiser_that_is_none_is_refused(wrong: object) -> None:
    values = {"structures": TWO, "preset": "small", "training": {"optimiser": wrong}}
    assert "training.optimiser" in refusal(values)


def test_the_risk_is_monitored_where_there_are_noise_models() -> None:
    risk = {"monitor": "risk"}
    assert settings(objective=risk).objective.monitor == "risk"
    assert settings(system="hdn_musplit", denoiser={"objective": risk}).denoiser is not None
    for system in ("musplit", "altered_musplit", "hdn_musplit"):
        found = refusal({"structures": TWO, "system": system, "objective": risk})
        assert (
            f"objective.monitor must not be risk for system {system}: "
            "only systems with noise models can estimate the risk"
        ) in found


def test_own_values_lie_over_the_preset_key_by_key() -> None:
    s = settings(preset="small", network={"latents": 16}, training={"batch": 4})
    assert (s.network.filters, s.network.latents) == (32, 16)
    assert (s.training.batch, s.training.max_steps) == (4, 800)
    s = settings(preset="paper", objective={"beta": 0.5})
    assert (s.objective.beta, s.objective.monitor) == (0.5, "data")


def test_presets_do_not_remember() -> None:
    settings(preset="small", network={"latents": 16})
    assert settings(preset="small").network.latents == 8


def test_settings_are_frozen_and_round_trip_as_plain_values() -> None:
    s = settings(preset="paper", seed=7)
    with pytest.raises(ValidationError):
        s.seed = 8  # type: ignore[misc]
    assert parse(Settings, yaml.safe_load(yaml.safe_dump(s.model_dump(mode="json"))), "x") == s


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"colour": "blue"}, "unknown key colour"),
        ({"network": {"filter": 3}}, "unknown key network.filter"),
        ({"structures": [{"name": "a", "files": ["a"], "channel": 1}]}, "structures.0.channel"),
        ({"preset": "paper", "objective": {"betta": 1}}, "unknown key objective.betta"),
    ],
)
def test_unknown_keys_are_named(values: dict[str, Any], key: str) -> None:
    assert key in refusal({"structures": TWO} | values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": {"patch": 120}}, ["patch 120", "stride 16"]),
        ({"network": {"patch": 64, "levels": 7}}, ["patch 64", "stride 128"]),
        ({"network": {"levels": 9}}, ["network.levels = 9", "8"]),
        ({"network": {"filters": 0}}, ["network.filters = 0", "greater than 0"]),
        ({"network": {"dropout": 1.0}}, ["network.dropout = 1.0"]),
        ({"network": {"latents": 2.5}}, ["network.latents = 2.5", "integer"]),
        ({"network": None}, ["network = None"]),
        ({"network": [1]}, ["network = [1]"]),
        ({"objective": {"beta": float("nan")}}, ["objective.beta = nan", "finite"]),
        ({"objective": {"beta": -1}}, ["objective.beta = -1"]),
        ({"objective": {"kl_form": "eq5"}}, ["objective.kl_form = 'eq5'", "eq3", "eq4"]),
        ({"data": {"clip_quantile": 99.5}}, ["data.clip_quantile = 99.5", "less than or equal"]),
        ({"data": {"pairing": "random"}}, ["data.pairing = 'random'", "unrelated"]),
        ({"training": {"schedule": "cosine"}}, ["cosine", "max_steps"]),
        ({"training": {"learning_rate": 0}}, ["training.learning_rate = 0"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"seed": 2**31}, ["seed = 2147483648"]),
        ({"preset": "large"}, ["preset = 'large'", "small", "paper"]),
        ({"preset": ["small"]}, ["preset = ['small']"]),
        ({"system": "musplit2"}, ["system = 'musplit2'"]),
        ({"structures": []}, ["structures"]),
        ({"structures": 5}, ["structures = 5"]),
        ({"structures": 5, "preset": "paper"}, ["structures = 5"]),
        ({"structures": [{"name": "a", "files": []}]}, ["structures.0.files"]),
        ({"structures": [{"name": "a"}]}, ["structures.0.files", "missing"]),
    ],
)
def test_values_that_do_not_fit_are_named(values: dict[str, Any], words: list[str]) -> None:
    text = refusal({"structures": TWO} | values)
    for word in words:
        assert word.lower() in text.lower()


@pytest.mark.parametrize(
    "names", [("ER", "ER"), ("ER", "er"), ("a", "MT", "b", "mt")], ids=lambda n: "-".join(n)
)
def test_doubled_names_are_refused(names: tuple[str, ...]) -> None:
    """Names are file names too, and some file systems know no case."""
    given = [{"name": n, "files": [f"{k}.tif"]} for k, n in enumerate(names)]
    text = refusal({"structures": given})
    assert "given more than once" in text
    assert names[-1].lower() in text.lower()


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a\\b", ".hidden", "-x", "a\nb", "x" * 65, "é"]
)
def test_names_that_make_no_file_name_are_refused(name: str) -> None:
    text = refusal({"structures": [{"name": name, "files": ["a.tif"]}]})
    assert "structure name" in text


@pytest.mark.parametrize("name", ["ER", "F-actin (60x)", "a_b+c.d", "488 nm", "x" * 64])
def test_names_as_people_write_them_are_taken(name: str) -> None:
    s = settings_from({"structures": [{"name": name, "files": ["a.tif"]}]})
    assert s.names == (name,)


# ---------------------------------------------------------------- YAML


def test_yaml_is_read_as_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "preset: small\n"
        "structures:\n"
        "  - {name: ER, files: [er.tif, 'µ 2.tif']}\n"
        "  - {name: MT, files: [mt.tif], offset: 100}\n"
        "training: {learning_rate: 1e-3}\n",  # a string to YAML 1.1
        encoding="utf-8",
    )
    s = settings_from(read_yaml(path), path)
    assert s.structures[0].files == ("er.tif", "µ 2.tif")
    assert s.structures[1].offset == 100
    assert s.training.learning_rate == 1e-3
    assert s.training.max_steps == 800


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"a: [1, 2\nb: 3\n", "not valid YAML"),
        (b"\xff\xfe\x00\x01", "not valid YAML"),
        (b"- a\n- b\n", "the file holds a list"),
        (b"", "the file holds nothing"),
        (b"only words", "the file holds a single value"),
        (b"a: !!python/object/apply:os.system ['touch trap']\n", "not valid YAML"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, content: bytes | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


def test_a_folder_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="YAML file"):
        read_yaml(tmp_path)
