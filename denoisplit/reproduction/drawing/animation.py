"""Animation of posterior samples as a GIF."""

from __future__ import annotations

import io

import numpy as np

from denoisplit.images.display import display_limits
from denoisplit.report.style import INK
from denoisplit.reproduction.drawing.lattice import Cell, Column, lattice
from denoisplit.reproduction.drawing.paper_panels import Array, PanelImages

DURATION = 120  # ms per sample
PANEL_SIDE = 2.56  # inches


def sampling_gif(images: PanelImages, samples: Array) -> bytes:
    """Return a looping GIF: the input, and beside it the structures of one sample per frame.

    Parameters
    ----------
    images : PanelImages
        Those of the frame; the truth sets the grey scale of each structure in all samples.
    samples : ndarray (S, C, Y, X)
        Posterior samples.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    columns = [Column("input", [Cell(images.input, display_limits(images.input))])]
    columns += [
        Column(name, [Cell(sample, display_limits(truth))])
        for name, sample, truth in zip(images.names, samples[0], images.truth, strict=True)
    ]
    drawn = lattice(columns, [""], side=PANEL_SIDE, foot=0.22)
    figure = drawn.figure
    images.draw_scale_bar(drawn)
    places = [axes.images[0] for axes in drawn.panels[0][1:] if axes is not None]
    y = 0.06 / figure.get_figheight()
    counter = figure.text(0.5, y, "", ha="center", fontsize=9, color=INK)
    for artist in (*places, counter):
        artist.set_animated(True)  # not part of the background, which is drawn once
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    frames = []
    for number, sample in enumerate(samples, start=1):
        canvas.restore_region(background)
        counter.set_text(f"sample {number} of {len(samples)}")
        for place, image in zip(places, sample, strict=True):
            place.set_data(image)
        for artist in (*places, counter):
            figure.draw_artist(artist)
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).convert("L"))
    stream = io.BytesIO()
    frames[0].save(
        stream, format="GIF", save_all=True, append_images=frames[1:], duration=DURATION, loop=0
    )
    return stream.getvalue()
