"""Made-up results to draw, from tests/report."""

from __future__ import annotations

from ..report.conftest import made as made
