"""Made-up results to draw, from tests/report, and the systems of the paper's tables."""

from __future__ import annotations

from ..report.conftest import made as made

# systems of the published tables; others may be added to the package
PUBLISHED = ("denoisplit", "altered_musplit", "musplit", "hdn_musplit")
