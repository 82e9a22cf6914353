"""Frames of several structures: none comes twice, and pairs show the same field of view."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisplit.data.pairing import check_together
from denoisplit.errors import InputError
from denoisplit.images import Frames

RNG = np.random.default_rng(0)


def frames(names: Sequence[str], size: dict[str, float] | None = None, **more: Any) -> Frames:
    """One frame per file name; ``[j]`` is a frame of a stack."""
    files = tuple(Path("/data", name.split("[")[0]) for name in names)
    images = more.get("images") or [RNG.integers(0, 9999, (40, 30)) for _ in names]
    return Frames(tuple(images), tuple(f"/data/{name}" for name in names), files, size or {})


def numbered(pattern: str, numbers: Sequence[int]) -> Frames:
    return frames([pattern.format(number) for number in numbers])


def warnings_of(caplog: pytest.LogCaptureFixture, *groups: Frames, **more: bool) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "denoisplit"):
        check_together(groups, [f"s{k}" for k in range(len(groups))], **more)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("one", "other", "different"),
    [
        (numbered("er_{}.tif", range(1, 13)), numbered("mt_{}.tif", range(1, 13)), 0),
        (numbered("er_{}.tif", range(1, 13)), numbered("mt_{}.tif", range(12)), 12),
        (numbered("er_{}.tif", [1, 2, 3, 10]), numbered("mt_{}.tif", [1, 10, 2, 3]), 3),
        (numbered("488_er_{:03}.tif", [1, 2]), numbered("561_mt_{}.tif", [1, 2]), 0),
        (numbered("488_er_{:03}.tif", [1, 2]), numbered("561_mt_{}.tif", [1, 3]), 1),
        (numbered("pos{}/er.tif", [1, 2]), numbered("pos{}/mt.tif", [1, 2]), 0),
        (numbered("pos{}/er.tif", [1, 2]), numbered("pos{}/mt.tif", [2, 3]), 2),
        (numbered("er.tif[{}]", range(3)), numbered("mt_{}.tif", range(7, 10)), 0),
        (frames(["a.tif", "b.tif"]), frames(["c.tif", "d.tif"]), 0),
        (frames(["1_2.tif", "2_2.tif"]), frames(["1_7_9.tif", "2_7_9.tif"]), 0),
        (frames(["er_1.tif", "er_1 (2).tif"]), frames(["mt_1.tif", "mt_2.tif"]), 0),
        (frames(["er_1.tif", "er_1 (2).tif"]), frames(["mt_1.tif", "mt_3.tif"]), 1),
        (frames(["1.tif"]), frames(["2.tif"]), 0),
        (frames(["a_1.tif:0", "b.tif:0"]), frames(["a_1.tif:2", "b.tif:2"]), 0),
        (frames(["a_1.tif:0", "a_1.tif:1"]), frames(["a_1.tif:2", "a_1.tif:3"]), 0),
    ],
)
def test_numbers_in_the_names_of_pairs_are_compared(
    one: Frames, other: Frames, different: int, caplog: pytest.LogCaptureFixture
) -> None:
    lines = warnings_of(caplog, one, other)
    assert bool(lines) == bool(different)
    for line in lines:
        assert line.startswith(f"{different} of {len(one.images)} pairs of frames")
    assert warnings_of(caplog, one, other, paired=False) == []


def test_different_pixel_sizes_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    a, b, unknown = frames(["a"], {"x": 0.1}), frames(["b"], {"x": 0.2}), frames(["c"])
    assert warnings_of(caplog, a, unknown) == []
    (line,) = warnings_of(caplog, a, unknown, b, paired=False)
    assert "b: its pixels are 0.2 um wide along x" in line and "a 0.1 um" in line


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int64])
def test_the_same_image_is_recognised_by_its_pixels(dtype: Any) -> None:
    images = [RNG.integers(0, 9999, (40, 30)).astype(np.uint16) for _ in range(3)]
    copy = images[1].astype(dtype)
    one, other = frames(["a", "b", "c"], images=images), frames(["d"], images=[copy])
    with pytest.raises(InputError, match=r"/data/d: .* same image as /data/b, .*s0 and s1"):
        check_together([one, other], ["s0", "s1"])
    files = frames(["a", "b", "c", "d"], images=[*images, copy])
    with pytest.raises(InputError, match=r"/data/d: .* same image as /data/b, .* in s0; leave"):
        check_together([files], ["s0"])
    stack = frames([f"a[{j}]" for j in range(4)], images=[*images, copy])
    check_together([stack], ["s0"])
    with pytest.raises(InputError, match=r"/data/a\[3\]: .* same image as /data/a\[1\], .* in s0"):
        check_together([stack], ["s0"], distinct=True)
    copy[1, 1] += 1
    check_together([files], ["s0"], distinct=True)
