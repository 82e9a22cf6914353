"""The page: what it says, that it stands alone, that names cannot break it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from denoisplit.report.page import report
from denoisplit.report.tables import metrics_table

VOID = {"meta", "img", "br", "link"}


class Tags(HTMLParser):
    """Checks that tags close in order; collects images, cells and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


FORMS = [
    pytest.param({}, id="two structures"),
    pytest.param({"structures": 1}, id="one structure"),
    pytest.param({"structures": 3, "pixel_size_um": None}, id="three structures"),
    pytest.param({"noise_models": False}, id="Altered muSplit"),
    pytest.param({"truth": False}, id="noisy reference"),
    pytest.param({"truth": False, "noise_models": False}, id="no reference"),
    pytest.param({"frames": 1, "shape": (300, 280)}, id="one large frame"),
]


@pytest.mark.parametrize("form", FORMS)
def test_page_stands_alone_in_every_form(made, form) -> None:
    parts = made(**form)
    page = report(*parts.parts)
    tags = Tags(page)
    assert not tags.open
    assert not tags.tags & {"script", "link", "iframe", "b"}
    assert not re.search(r"https?:|url\(|@import", page)
    for image in tags.images:
        data = image["src"].removeprefix("data:image/png;base64,")
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert image["alt"]
    structures = len(parts.names)
    assert len(tags.images) == 2 + structures * (2 if parts.noise_models else 1)
    for name in parts.names:
        assert name in tags.text


def test_table_is_that_of_the_terminal(made) -> None:
    parts = made()
    tags = Tags(report(*parts.parts))
    assert tags.rows[0] == ["", *parts.names, "mean"]
    lines = metrics_table(parts.metrics).splitlines()[2:]
    expected = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert [row for row in tags.rows[1:]] == expected


def test_summary_has_the_key_numbers(made) -> None:
    parts = made()
    text = " ".join(Tags(report(*parts.parts)).text.split())
    mean = parts.metrics["mean"]
    for key in ("psnr", "psnr_naive", "psnr_single_sample"):
        assert f"{mean[key]['mean']:.2f} ± {mean[key]['sem']:.2f} dB" in text
    assert f"{100 * mean['calibration_error']['mean']:.0f} %" in text
    assert "Test frame 2 of 3, the one with the median PSNR" in text
    assert "Gaussian noise of 10" in text


def test_settings_hold_no_folders(made) -> None:
    text = Tags(report(*made().parts)).text
    assert "0.tif" in text and "folder/" not in text
    assert "abababababab..." in text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "2.00 for ER and 3.00 for actin <b>"),
        ({}, "against the noise-free truth"),
        ({"truth": False}, "after subtracting the variance of their noise"),
        ({"truth": False}, "There is no noise-free truth"),
        ({"truth": False}, "against the recorded, noisy images"),
        ({"truth": False, "noise_models": False}, "The factor could not be fitted"),
    ],
)
def test_words_about_the_std(made, form, words) -> None:
    assert words in " ".join(Tags(report(*made(**form).parts)).text.split())


def test_losses_where_there_is_a_history(made, tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("step,train_loss,train_data,train_kl,val_loss,val_data,val_kl\n1,1,1,1,1,1,1\n")
    assert "Losses during training" in report(*made().parts, history=path)
    assert "Losses during training" not in report(*made().parts, history=tmp_path / "none.csv")


def test_a_report_of_one_frame_is_whole(made) -> None:
    assert report(*made(structures=1, frames=1).parts).endswith("</html>\n")


def test_importing_the_report_draws_nothing() -> None:
    code = (
        "import sys, denoisplit.report.page; "
        "assert not [m for m in sys.modules if m.startswith('matplotlib')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
