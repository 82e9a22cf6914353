"""Reading and writing of image files: named axes, channel names, pixel size in micrometres."""

from denoisplit.images.files import Files, each_of, list_files, open_image, read_image
from denoisplit.images.frames import Frames, fingerprint, read_frames
from denoisplit.images.lazy import LazyImage
from denoisplit.images.repeats import read_repeats
from denoisplit.images.write import check_tiff_name, write_ome_tiff, write_ome_tiffs

__all__ = [
    "Files",
    "Frames",
    "LazyImage",
    "check_tiff_name",
    "each_of",
    "fingerprint",
    "list_files",
    "open_image",
    "read_frames",
    "read_image",
    "read_repeats",
    "write_ome_tiff",
    "write_ome_tiffs",
]
