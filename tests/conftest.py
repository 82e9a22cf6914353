"""Where the test images lie, and what happens without them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forked import commands
from .tiny import calibrate_little

ROOT = Path(__file__).resolve().parents[1]
# a relative path counts from the repository's root
DATA = ROOT / os.environ.get("DENOISPLIT_TEST_DATA", "../shared/data")


# files that take longest; processes that share the work begin with them, and so end together
LONG = (
    "test_docs_site", "test_fuzz", "test_docs", "test_bioimageio", "test_fit", "test_docs_guide",
    "test_pieces", "test_figure", "test_train_chain", "test_weights", "test_export", "test_job",
    "test_train_noise", "test_check", "test_page", "test_repeats_of_nuclei", "test_distributed",
    "test_train", "test_error_bars", "test_format_1", "test_fit_resumed", "test_calibrate",
    "test_from_noisy", "test_public", "test_exposures_of_cells", "test_build", "test_frame",
    "test_autotune", "test_main", "test_predict", "test_kills",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONG` files first."""
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


def pytest_collection_finish() -> None:
    """Keep modules and tests out of garbage collections, which took a tenth of a tiny training."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the test images where they are absent; under CI=true let it fail.

    The skip stands here and not in the fixture, so that the summary counts all of them in one line.
    """
    calibrate_little(item)
    if "data_dir" in getattr(item, "fixturenames", ()) and not DATA.is_dir():
        reason = "the folder of test images is absent; name it in DENOISPLIT_TEST_DATA"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="package")
def data_dir() -> Path:
    """The folder of real test images: DENOISPLIT_TEST_DATA, else ../shared/data."""
    return DATA.resolve()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs that start at once, see tests/forked.py."""
    with commands(tmp_path_factory.mktemp("programs"), "denoisplit", "python") as folder:
        yield folder
