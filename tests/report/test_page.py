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

from ..tiny import draw_nothing

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


@pytest.fixture
def drawn() -> None:
    """Tests that take this look at the figures; in others these are single pixels."""


@pytest.fixture(autouse=True)
def _words_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        draw_nothing(monkeypatch)


FORMS = [
    pytest.param({}, id="two structures"),
    pytest.param({"structures": 1}, id="one structure"),
    pytest.param({"structures": 3, "pixel_size_um": None}, id="three structures"),
    pytest.param({"noise_models": False}, id="Altered muSplit"),
    pytest.param({"truth": False}, id="noisy reference"),
    pytest.param({"truth": False, "noise_models": False}, id="no reference"),
    pytest.param({"frames": 1, "shape": (300, 280)}, id="one large frame"),
    pytest.param({"error_map": True}, id="error map"),
    pytest.param({"error_map": True, "truth": False}, id="error map, noisy reference"),
]


@pytest.mark.parametrize("form", FORMS)
def test_page_stands_alone_in_every_form(made, form, drawn) -> None:
    parts = made(**form)
    page = report(*parts.parts, **parts.options)
    tags = Tags(page)
    assert not tags.open
    assert not tags.tags & {"script", "link", "iframe", "b"}
    assert not re.search(r"https?:|url\(|@import", page)
    for image in tags.images:
        data = image["src"].removeprefix("data:image/png;base64,")
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert image["alt"]
    structures = len(parts.names)
    calibrated = parts.frames.has_truth or parts.errors is not None
    count = 1 + calibrated + structures * (2 if parts.noise_models else 1)
    of_bars = ("error_bars" in parts.metrics) * (2 if parts.frames.has_truth else 1)
    assert len(tags.images) == count + of_bars
    for name in parts.names:
        assert name in tags.text


@pytest.mark.parametrize("form", [{}, {"error_map": True}, {"truth": False}])
def test_table_is_that_of_the_terminal(made, form) -> None:
    parts = made(**form)
    tags = Tags(report(*parts.parts))
    assert tags.rows[0] == ["", *parts.names, "mean"]
    text = metrics_table(parts.metrics)
    lines = text[text.index("PSNR") :].splitlines()
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
        ({"truth": False}, "to errors that were estimated without truth"),
        ({"truth": False}, "There is no noise-free truth"),
        ({"truth": False}, "PSNR of the prediction, estimated without truth, is 20.0 dB (19.5 to"),
        ({"truth": False}, "the one with the median PSNR, estimated without truth"),
        ({"truth": False}, "The real error of each bin is estimated without truth"),
        ({"truth": False, "noise_models": False}, "The factor could not be fitted"),
        ({"truth": False, "noise_models": False}, "neither a truth nor a noise model of"),
        ({"truth": False, "noise_models": False}, "The errors are neither known nor estimated"),
        ({"error_map": True}, "the std is the expected size of the error there"),
        ({"error_map": True}, "The 90 % interval contains the truth in 90 % of the pixels of ER"),
        ({"error_map": True}, "A second measure of uncertainty is the spread of the samples"),
    ],
)
def test_words_about_the_std(made, form, words) -> None:
    parts = made(**form)
    assert words in " ".join(Tags(report(*parts.parts, **parts.options)).text.split())


def test_verdicts_come_first_and_then_where_error_bars_are_wrong(made) -> None:
    parts = made(error_map=True)
    scores = parts.metrics["error_bars"]["ER"]
    bright, dark = (scores[part]["error_over_claimed"] for part in ("brightest", "background"))
    text = " ".join(Tags(report(*parts.parts)).text.split())
    verdict, bars = (
        text.index(words)
        for words in (
            "ER is split: it is better.",
            f"In the brightest 5 % of the pixels the error of ER is {bright['value']:.1f} times "
            f"the error bar; in the background {dark['value']:.1f} times.",
        )
    )
    assert verdict < bars < text.index("On 3 test frames") < text.index("Metrics")


def test_without_truth_only_corrected_numbers_are_shown(made) -> None:
    """Neither the current metrics nor those of an earlier version, which used noisy images."""
    parts = made(truth=False, error_map=True)
    for scores in (*parts.metrics["structures"].values(), parts.metrics["mean"]):
        for key in ("psnr", "psnr_naive", "ms_ssim", "noise_correlation", "calibration_error"):
            scores[key] = {"mean": 77.7, "sem": 7.7}
    page = report(*parts.parts, **parts.options)
    assert "77.7" not in Tags(page).text and "77.7" not in metrics_table(parts.metrics)
    rows = {row[0]: row[1:] for row in Tags(page).rows}
    assert not {"PSNR (dB)", "of the noisy input", "coverage of the 90 % interval"} & set(rows)
    assert all(set(row[1:]) != {"-"} for row in Tags(page).rows)
    assert rows["PSNR, estimated without truth"] == [
        "20.0 dB (19.5 to 20.5)", "21.0 dB (20.5 to 21.5)", "20.5 dB (20.0 to 21.0)"
    ]  # fmt: skip
    assert rows["of the best blurred input"] == ["above 14.0 dB"] * 3
    assert all("(" in text for text in rows["error over error bar"])


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
