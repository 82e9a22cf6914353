"""Plugin of napari: split a layer of the viewer with a trained run."""
