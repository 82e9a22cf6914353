"""Results to draw: those of tests/report."""

from __future__ import annotations

from ..report.conftest import made as made
