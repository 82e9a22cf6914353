"""Equal graphs give equal TorchScript files, whatever was traced before."""

from __future__ import annotations

import io
import warnings
import zipfile

import torch
from denoisplit_zoo.exporting.script_archive import reproducible
from torch import Tensor, nn


class Halves(nn.Module):
    """Values without a name, in two methods once it is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, dim=1)
        return torch.cat([a * torch.sigmoid(b), b], 1)


class Twice(nn.Module):
    """Several classes of one source file, and one class with two sets of weights."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = Halves(), nn.Sequential(Halves(), nn.ELU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return y + 2 * self.first(y)


def traced(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(Twice(seed).eval(), torch.ones(1, 2, 4, 4)), stream)
    return stream.getvalue()


def test_a_file_does_not_depend_on_what_was_traced_before() -> None:
    """The classes are new to the process, then known."""
    before, after = traced(), traced()
    names = [
        {i.filename for i in zipfile.ZipFile(io.BytesIO(f)).infolist()} for f in (before, after)
    ]
    assert names[0] != names[1]
    assert reproducible(before) == reproducible(after) != reproducible(traced(seed=1))
    assert reproducible(reproducible(after)) == reproducible(after)


def test_it_loads_and_computes_the_same() -> None:
    image = torch.linspace(-1, 1, 2 * 5 * 6).reshape(1, 2, 5, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripts = [torch.jit.load(io.BytesIO(f)) for f in (traced(), reproducible(traced()))]
    expected = Twice(0)(image)
    for script in scripts:
        torch.testing.assert_close(script(image), expected)


def test_no_source_file_is_named() -> None:
    with zipfile.ZipFile(io.BytesIO(reproducible(traced()))) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert not [name for name in archive.namelist() if b".py" in archive.read(name)]
