"""Animation of posterior samples as a GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from denoisplit.report.style import INK, display_limits, scale_bar
from denoisplit.reproduction.drawing.lattice import Cell, Column, lattice

Array = npt.NDArray[np.float32]

DURATION = 120  # ms per sample
PANEL_SIDE = 2.56  # inches


def sampling_gif(
    names: Sequence[str],
    frame: Array,
    samples: Array,
    reference: Array,
    pixel_size_um: float | None = None,
) -> bytes:
    """Return a looping GIF: the input, and beside it the structures of one sample per frame.

    Parameters
    ----------
    names : sequence of str
        Structures.
    frame : ndarray (Y, X)
        The image that was split.
    samples : ndarray (S, C, Y, X)
        Posterior samples.
    reference : ndarray (C, Y, X)
        Images that set the grey scale of each structure, the same for all samples.
    pixel_size_um : float, optional

    Returns
    -------
    bytes
        A GIF of S frames.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    columns = [Column("input", [Cell(frame, display_limits(frame))])]
    columns += [
        Column(name, [Cell(image, display_limits(reference[k]))])
        for k, (name, image) in enumerate(zip(names, samples[0], strict=True))
    ]
    drawn = lattice(columns, [""], side=PANEL_SIDE, foot=0.22)
    figure = drawn.figure
    if pixel_size_um is not None and drawn.panels[0][0] is not None:
        scale_bar(drawn.panels[0][0], frame.shape, pixel_size_um)
    places = [axes.images[0] for axes in drawn.panels[0][1:] if axes is not None]
    counter = figure.text(
        0.5, 0.06 / figure.get_figheight(), "", ha="center", fontsize=9, color=INK
    )
    for artist in (*places, counter):
        artist.set_animated(True)  # not part of the background, which is drawn once
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    images = []
    for number, sample in enumerate(samples, start=1):
        canvas.restore_region(background)
        counter.set_text(f"sample {number} of {len(samples)}")
        for place, image in zip(places, sample, strict=True):
            place.set_data(image)
        for artist in (*places, counter):
            figure.draw_artist(artist)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).convert("L"))
    stream = io.BytesIO()
    images[0].save(
        stream, format="GIF", save_all=True, append_images=images[1:], duration=DURATION, loop=0
    )
    return stream.getvalue()
