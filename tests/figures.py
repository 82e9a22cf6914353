"""Reports without their figures, for rooms whose tests train often; tests/report draws them."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="package", autouse=True)
def _not_drawn() -> Iterator[None]:
    """Figures of reports are one pixel, which saves a quarter of a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("denoisplit.report.html.png", lambda _: PIXEL)
        yield
