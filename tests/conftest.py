"""Where the test images lie, and what happens without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# a relative path counts from the repository's root
DATA = ROOT / os.environ.get("DENOISPLIT_TEST_DATA", "../shared/data")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the test images where they are absent; under CI=true let it fail.

    The skip stands here and not in the fixture, so that the summary counts all of them in one line.
    """
    if "data_dir" in getattr(item, "fixturenames", ()) and not DATA.is_dir():
        reason = "the folder of test images is absent; name it in DENOISPLIT_TEST_DATA"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="package")
def data_dir() -> Path:
    """The folder of real test images: DENOISPLIT_TEST_DATA, else ../shared/data."""
    return DATA.resolve()
