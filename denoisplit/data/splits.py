"""Split the frames of C structures into training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Image = npt.NDArray[np.generic]
Group = tuple[tuple[Image, ...], ...]  # [structure][frame] -> (Y, X)

PAPER_RULES = {"truncated": 10, "threes": 30}  # with the fewest frames that each can split
GAP = 32  # px between the parts of a frame that is cut
CUT_SHARES = (0.7, 0.15)  # training and validation parts of a frame that is cut; the rest is test
COARSE_BLOCK = 16  # side of the blocks that are averaged before frames are compared, px
SAME_CELLS = 0.5  # correlation of neighbouring frames above which they show the same cells


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
    pairing : {"co-registered", "in-order", "unrelated"}
        Co-registered frames must agree in number and size; in-order ones are cut to the shortest
        stack; unrelated structures are split separately.
    rule : {"auto", "rounded", "spread", "truncated", "threes"}
        Number of test frames, which equals that of validation frames, and their choice; for "auto"
        see `rule_for`. "rounded": ``max(1, round(0.1 N))``, the first frames for test, the next for
        validation. "spread": as many, spread evenly over the files. "truncated": ``int(0.1 N)`` in
        file order, as in the paper. "threes": of the first ``int(0.2 N)`` frames, groups of three
        alternate between validation and test (PaviaATN in the paper). One or two frames are cut
        into parts, except by the rules of the paper.
    patch : int
        Side of the training patch, which training and validation frames must hold.

    Raises
    ------
    InputError
        If frames do not match, or are too few or too small.
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
    parted = [rule not in PAPER_RULES and len(frames) <= 2 for frames in groups]
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
    if n <= 2 and rule not in PAPER_RULES:
        cut = [_cut(frame, name) for frame in frames]
        return tuple(c[0] for c in cut), tuple(c[1] for c in cut), tuple(c[2] for c in cut)
    validation, test = held_out_indices(n, rule)
    if not test:
        raise InputError(
            where=f"structure {name}",
            found=f"{n} frames",
            expected=f"at least {PAPER_RULES[rule]} for the split rule {rule}",
            remedy="provide more frames, or set data.split to rounded",
        )
    training = sorted({*range(n)} - {*test, *validation})
    first, second, third = (tuple(frames[j] for j in part) for part in (training, validation, test))
    return first, second, third


def held_out_indices(n: int, rule: str) -> tuple[list[int], list[int]]:
    """Return the indices of the validation and of the test frames among ``n``."""
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
    """Return the indices of validation and test frames per structure; none if frames are cut.

    ``counts`` are the numbers of frames per structure; the rule is one of `split`, but not "auto".
    """
    if pairing == "in-order":
        counts = [min(counts)] * len(counts)
    cut = [rule not in PAPER_RULES and n <= 2 for n in counts]
    indices = [held_out_indices(n, rule) for n in counts]
    # frames that are cut have a held-out part each
    common = min(
        n if c else len(test) for n, c, (_, test) in zip(counts, cut, indices, strict=True)
    )
    return [
        {} if c else {"validation": v[:common], "test": t[:common]}
        for c, (v, t) in zip(cut, indices, strict=True)
    ]


def rule_for(structures: Sequence[Sequence[Image]], asked: str) -> str:
    """Return the rule of `split`; "auto" is decided by the similarity of neighbouring frames.

    Files are often ordered by dish or condition, so test and validation frames are spread over
    them, and calibration and metrics represent all conditions. But neighbours in a time series or a
    z-stack show the same cells, which must not be in both training and test: if neighbouring frames
    are similar, test and validation are taken from the start instead.
    """
    if asked != "auto":
        return asked
    similarity = [_similarity(frames) for frames in structures]
    return "rounded" if max(similarity) > SAME_CELLS else "spread"


def _similarity(frames: Sequence[Image]) -> float:
    """Median correlation of frames with neighbours of the same size; 0 if there are none."""
    correlations = [0.0]
    for pair in pairwise(frames):
        if pair[0].shape == pair[1].shape and min(pair[0].shape) >= COARSE_BLOCK:
            a, b = (_coarse(frame) for frame in pair)
            scale = float(np.sqrt((a @ a) * (b @ b)))
            correlations.append(float(a @ b) / scale if scale > 0 else 0.0)
    return float(np.median(correlations[1:] or correlations))


def _coarse(frame: Image) -> npt.NDArray[np.float64]:
    """Return centred block means, in which pixel-wise noise averages out."""
    rows, columns = (side // COARSE_BLOCK for side in frame.shape)
    inner = frame[: rows * COARSE_BLOCK, : columns * COARSE_BLOCK].astype(np.float64)
    blocks = inner.reshape(rows, COARSE_BLOCK, columns, COARSE_BLOCK)
    means = blocks.mean(axis=(1, 3)).ravel()
    centred: npt.NDArray[np.float64] = means - means.mean()
    return centred


def _cut(frame: Image, name: str) -> tuple[Image, Image, Image]:
    """Cut one frame along its longer side, with gaps between the parts."""
    axis = int(frame.shape[1] >= frame.shape[0])
    usable = frame.shape[axis] - 2 * GAP
    sides = [round(share * usable) for share in CUT_SHARES]
    if min(*sides, usable - sum(sides)) <= 0:
        raise InputError(
            f"a frame of {_px(frame)} is too small to be cut into training, validation and test",
            where=f"structure {name}",
            remedy="provide larger frames, or at least three of them",
        )
    ends = np.cumsum([sides[0], GAP, sides[1], GAP])
    training, _, validation, _, test = np.split(frame, ends, axis=axis)
    return training, validation, test


def _common(group: Group) -> Group:
    """Cut frame j of every structure to one size, and all structures to one number of frames."""
    count = min(len(frames) for frames in group)
    sizes = [
        tuple(min(frames[j].shape[axis] for frames in group) for axis in (0, 1))
        for j in range(count)
    ]
    return tuple(
        tuple(frames[j][: sizes[j][0], : sizes[j][1]] for j in range(count)) for frames in group
    )


def check_registered(groups: Sequence[tuple[Image, ...]], names: Sequence[str]) -> None:
    """Raise `InputError` unless the frames of all structures agree in number and size."""
    first = groups[0]

    def mismatch(where: str, found: str, expected: str) -> InputError:
        return InputError(
            where=where,
            found=found,
            expected=f"{expected} as in structure {names[0]}",
            remedy="provide the same fields of view for every structure (only training accepts "
            "other ones, with `pairing` unrelated)",
        )

    for name, frames in zip(names[1:], groups[1:], strict=True):
        where = f"structure {name}"
        if len(frames) != len(first):
            raise mismatch(where, f"{len(frames)} frames", f"{len(first)}")
        for j, (a, b) in enumerate(zip(first, frames, strict=True)):
            if a.shape != b.shape:
                raise mismatch(f"{where}, frame {j}", _px(b), _px(a))


def _check_size(frames: Sequence[Image], name: str, label: str, side: int, *, cut: bool) -> None:
    for frame in frames:
        if min(frame.shape) < side:
            raise InputError(
                where=f"structure {name}",
                found=f"{'a part' if cut else 'a frame'} of {_px(frame)} for {label}",
                expected=f"at least {side} x {side} px",
                remedy="provide larger or more frames, or set a smaller network.patch",
            )


def _px(frame: Image) -> str:
    return f"{frame.shape[0]} x {frame.shape[1]} px"
