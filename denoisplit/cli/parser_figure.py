"""What ``denoisplit figure`` takes on the command line."""

from __future__ import annotations

import argparse


def figure_arguments(parser: argparse.ArgumentParser, groups: type[argparse.Action]) -> None:
    """Add the arguments; ``groups`` reads ``NAME FILES...`` into a mapping."""
    parser.add_argument(
        "kind",
        metavar="KIND",
        help="2: whole frames, runs side by side; 3: samples and calibration; 4: a part, runs side "
        "by side; calibration; S1: routes to the noise model; S2: denoising against splitting; S3: "
        "numbers of samples; denoising; noise-model; sampling: an animation",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="finished runs; of most kinds one")
    parser.add_argument("-o", "--output", metavar="FILE", help="FILE.png, or FILE.gif of sampling")
    parser.add_argument(
        "--frame",
        type=int,
        metavar="N",
        help="which test frame, from 0 (default: the first; of sampling a random one)",
    )
    parser.add_argument(
        "--crop",
        type=int,
        nargs=3,
        metavar=("Y", "X", "SIDE"),
        help="the part that is shown, px (default: 256 px of most contrast)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        metavar="S",
        help="posterior samples (default 50); of S3 the most that are drawn (default 200)",
    )
    parser.add_argument(
        "--structure",
        dest="structures",
        metavar=("NAME", "FILES"),
        nargs="+",
        action=groups,
        help="images of a structure in place of the test frames; for each structure",
    )
    parser.add_argument(
        "--truth",
        metavar=("NAME", "FILES"),
        nargs="+",
        action=groups,
        help="the same fields free of noise, for a --structure with noise of its own",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of samples, noise and random choices (default 0)"
    )
