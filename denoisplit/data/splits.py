"""Training, validation and test frames of C structures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Image = npt.NDArray[np.generic]
Group = tuple[tuple[Image, ...], ...]  # [structure][frame] -> (Y, X)

PAPER = ("truncated", "threes")  # rules of the paper
GAP = 32  # px between the parts of a frame that is cut
SHARES = (0.7, 0.15, 0.15)  # training, validation, test of a frame that is cut
COARSE = 16  # px that are averaged before frames are compared
ALIKE = 0.5  # correlation of neighbouring frames from which on they show the same cells


class Splits(NamedTuple):
    """Frames per split, ``[structure][frame]``.

    In validation and test, frame j of every structure has one shape; in training too, unless the
    structures come from unrelated cells.
    """

    training: Group
    validation: Group
    test: Group


def split(
    structures: Sequence[Sequence[Image]],
    *,
    names: Sequence[str],
    pairing: str,
    rule: str,
    patch: int,
) -> Splits:
    """Split the frames of every structure into training, validation and test.

    Parameters
    ----------
    structures : [structure][frame] of (Y, X)
    names : sequence of str
        For messages.
    pairing : {"co-registered", "in-order", "unrelated"}
        Co-registered frames must agree in number and size; in-order ones are cut to the shortest
        stack; unrelated ones are split each for itself.
    rule : {"auto", "rounded", "spread", "truncated", "threes"}
        How many frames are test, and as many validation, and which; see `rule_for`. "rounded":
        ``max(1, round(0.1 N))``, in file order: test first, then validation. "spread": as many,
        evenly over the files. "truncated": ``int(0.1 N)`` in file order, as in the paper. "threes":
        of the first ``int(0.2 N)`` threes in turn are validation and test (PaviaATN in the paper).
        One or two frames are cut into parts, except by the rules of the paper.
    patch : int
        Side of the training patch: training and validation parts must hold one.

    Raises
    ------
    InputError
        If frames do not pair, or are too few or too small.
    """
    rule = rule_for(structures, rule)
    groups = [tuple(frames) for frames in structures]
    if pairing == "co-registered":
        check_registered(groups, names)
    elif pairing == "in-order":
        shortest = min(len(frames) for frames in groups)
        groups = [frames[:shortest] for frames in groups]
    parts = [_split_one(frames, name, rule) for frames, name in zip(groups, names, strict=True)]
    training = tuple(p[0] for p in parts)
    validation, test = (_common(tuple(p[i] for p in parts)) for i in (1, 2))
    if pairing == "in-order":
        training = _common(training)
    parted = [rule not in PAPER and len(frames) <= 2 for frames in groups]
    for label, group, side in (
        ("training", training, patch),
        ("validation", validation, patch),
        ("test", test, GAP),
    ):
        for name, frames, cut in zip(names, group, parted, strict=True):
            _check_size(frames, name, label, side, cut=cut)
    return Splits(training, validation, test)


def _split_one(
    frames: tuple[Image, ...], name: str, rule: str
) -> tuple[tuple[Image, ...], tuple[Image, ...], tuple[Image, ...]]:
    n = len(frames)
    if n <= 2 and rule not in PAPER:
        cut = [_cut(frame, name) for frame in frames]
        return tuple(c[0] for c in cut), tuple(c[1] for c in cut), tuple(c[2] for c in cut)
    validation, test = held_out(n, rule)
    if not test:
        raise InputError(
            where=f"structure {name}",
            found=f"{n} frames",
            expected="at least 10 (30 of threes) with the paper's rule of splitting",
            remedy="give more frames, or set data.split to rounded",
        )
    training = sorted({*range(n)} - {*test, *validation})
    return _chosen(frames, training), _chosen(frames, validation), _chosen(frames, test)


def held_out(n: int, rule: str) -> tuple[list[int], list[int]]:
    """Numbers of the validation and of the test frames among ``n``, counted from 0."""
    if rule == "threes":
        turns = [range(first, first + 3) for first in range(0, int(0.2 * n) - 2, 3)]
        return [j for t in turns[::2] for j in t], [j for t in turns[1::2] for j in t]
    held = int(0.1 * n) if rule == "truncated" else max(1, round(0.1 * n))
    if rule == "spread":
        test = [(2 * j + 1) * n // (2 * held) for j in range(held)]
        return [j * n // held for j in range(held)], test
    return list(range(held, 2 * held)), list(range(held))


def frames_held_out(
    counts: Sequence[int], *, pairing: str, rule: str
) -> list[dict[str, list[int]]]:
    """Per structure the numbers of its validation and test frames; none where frames are cut.

    Parameters
    ----------
    counts : sequence of int
        Frames of every structure.
    pairing, rule : str
        As of `split`; "auto" is no rule here.
    """
    if pairing == "in-order":
        counts = [min(counts)] * len(counts)
    cut = [rule not in PAPER and n <= 2 for n in counts]
    found = [held_out(n, rule) for n in counts]
    # of a frame that is cut a part is held out
    common = min(n if c else len(test) for n, c, (_, test) in zip(counts, cut, found, strict=True))
    return [
        {} if c else {"validation": v[:common], "test": t[:common]}
        for c, (v, t) in zip(cut, found, strict=True)
    ]


def rule_for(structures: Sequence[Sequence[Image]], asked: str) -> str:
    """The rule of `split`; "auto" is decided by the frames themselves.

    Files in order often are one dish or condition after another. So test and validation are spread
    over them: then a calibration scalar holds for all of them, and a metric speaks of all of them.
    But neighbours in a time series or a z-stack show the same cells, which a test must not have
    seen in the training: where frames look like their neighbours, they stay in file order.
    """
    if asked != "auto":
        return asked
    alike = [_alike(frames) for frames in structures]
    return "rounded" if max(alike) > ALIKE else "spread"


def _alike(frames: Sequence[Image]) -> float:
    """Median correlation of frames of one size with their neighbours; 0 where there are none."""
    found = [0.0]
    for pair in pairwise(frames):
        if pair[0].shape == pair[1].shape and min(pair[0].shape) >= COARSE:
            a, b = (_coarse(frame) for frame in pair)
            scale = float(np.sqrt((a @ a) * (b @ b)))
            found.append(float(a @ b) / scale if scale > 0 else 0.0)
    return float(np.median(found[1:] or found))


def _coarse(frame: Image) -> npt.NDArray[np.float64]:
    """Block means about their mean: noise of single pixels averages out."""
    rows, columns = (side // COARSE for side in frame.shape)
    inner = frame[: rows * COARSE, : columns * COARSE].astype(np.float64)
    means = inner.reshape(rows, COARSE, columns, COARSE).mean(axis=(1, 3)).ravel()
    centred: npt.NDArray[np.float64] = means - means.mean()
    return centred


def _chosen(frames: tuple[Image, ...], indices: Sequence[int]) -> tuple[Image, ...]:
    return tuple(frames[j] for j in indices)


def _cut(frame: Image, name: str) -> tuple[Image, Image, Image]:
    """Cut one frame along its longer side, with gaps between the parts."""
    axis = int(frame.shape[1] >= frame.shape[0])
    usable = frame.shape[axis] - 2 * GAP
    sides = [round(share * usable) for share in SHARES[:2]]
    sides.append(usable - sum(sides))
    if min(sides) <= 0:
        raise InputError(
            where=f"structure {name}",
            found=f"a frame of {frame.shape[0]} x {frame.shape[1]} px",
            expected="frames large enough to be cut into training, validation and test",
            remedy="give larger frames, or at least three of them",
        )
    start, pieces = 0, []
    for side in sides:
        window = [slice(None), slice(None)]
        window[axis] = slice(start, start + side)
        pieces.append(frame[tuple(window)])
        start += side + GAP
    return pieces[0], pieces[1], pieces[2]


def _common(group: Group) -> Group:
    """Frame j of every structure cut to one size, all structures to one number of frames."""
    count = min(len(frames) for frames in group)
    sizes = [
        tuple(min(frames[j].shape[axis] for frames in group) for axis in (0, 1))
        for j in range(count)
    ]
    return tuple(
        tuple(frames[j][: sizes[j][0], : sizes[j][1]] for j in range(count)) for frames in group
    )


def check_registered(groups: Sequence[tuple[Image, ...]], names: Sequence[str]) -> None:
    """Refuse structures whose frames do not agree in number and size."""
    first = groups[0]
    remedy = (
        "give the same fields of view of every structure (training alone: or --pairing unrelated)"
    )
    for name, frames in zip(names[1:], groups[1:], strict=True):
        if len(frames) != len(first):
            raise InputError(
                where=f"structure {name}",
                found=f"{len(frames)} frames",
                expected=f"{len(first)} as in structure {names[0]}",
                remedy=remedy,
            )
        for j, (a, b) in enumerate(zip(first, frames, strict=True)):
            if a.shape != b.shape:
                raise InputError(
                    where=f"structure {name}, frame {j}",
                    found=f"{b.shape[0]} x {b.shape[1]} px",
                    expected=f"{a.shape[0]} x {a.shape[1]} px as in structure {names[0]}",
                    remedy=remedy,
                )


def _check_size(frames: Sequence[Image], name: str, label: str, side: int, *, cut: bool) -> None:
    for frame in frames:
        if min(frame.shape) < side:
            of = "a part" if cut else "a frame"
            raise InputError(
                where=f"structure {name}",
                found=f"{of} of {frame.shape[0]} x {frame.shape[1]} px for {label}",
                expected=f"at least {side} x {side} px",
                remedy="give larger or more frames, or set a smaller network.patch",
            )
