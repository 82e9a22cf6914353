"""Options of a YAML file mean what was written, also where YAML has its own ideas."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoisplit.cli.yaml_options import from_yaml
from denoisplit.config.everyday import SUPERPOSE, TRAIN
from denoisplit.errors import InputError


def test_names_of_structures_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("structures:\n  ON: [a.tif]\n  NO: b.tif\n  1.5: [NO]\noffsets: {NO: 3}\n")
    options = from_yaml(path, SUPERPOSE)
    assert options["structures"] == {"ON": ["a.tif"], "NO": ["b.tif"], "1.5": ["NO"]}
    assert options["offsets"] == {"NO": 3.0}


def test_words_for_switches_and_choices(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("resume: yes\ntraining: {precision: 32, compile: off}\n")
    options = from_yaml(path, TRAIN)
    assert options["resume"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 2001-99-99", "seed = '2001-99-99' is not valid"),
        ("seed: !!bool x", "declares a type"),
        ("seed: " + "9" * 5000, "does not fit into 64 bits"),
        ("\n".join(f"k{n}: 1" for n in range(60_000)), "unknown key k0"),
        ("structures: [[[" + "[" * 100_000, "nest"),  # PyYAML 6.0.4 stops before we do
    ],
    ids=["date", "type", "number", "keys", "depth"],
)
def test_faults_are_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml: .+; ") as error:
        from_yaml(path, TRAIN)
    assert says in str(error.value)
