"""Settings of runs of earlier releases; tests/kept holds such runs."""

from __future__ import annotations

from typing import Any

from denoisplit.config.migration import migrated
from denoisplit.config.settings import FORMAT_VERSION


def test_an_older_training_is_repeated_with_its_own_optimiser() -> None:
    """Its preset has another one today, which would be taken for a setting that is missing."""
    settings: dict[str, Any] = {
        "preset": "small", "training": {"learning_rate": 2e-3}, "denoiser": None,
    }  # fmt: skip
    for version in range(1, FORMAT_VERSION + 1):
        old = {"format_version": version, "settings": settings}
        new = migrated(old, "config.yaml")["settings"]
        assert new["training"] == {"learning_rate": 2e-3, "optimiser": "adamax"}
        assert new["denoiser"] is None
    own = {**settings, "training": {"optimiser": "muon"}}
    new = migrated({"format_version": FORMAT_VERSION, "settings": own}, "config.yaml")["settings"]
    assert new == own and "optimiser" not in settings["training"]
