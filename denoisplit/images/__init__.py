"""Reading and writing of image files: named axes, channel names, pixel size in micrometres."""

from denoisplit.images.files import Files, each_of, list_files, only_channel, open_image, read_image
from denoisplit.images.frames import Frames, fingerprint, identity, read_frames
from denoisplit.images.lazy import LazyImage
from denoisplit.images.repeats import read_repeats
from denoisplit.images.selection import ImageFile
from denoisplit.images.write import check_tiff_name, write_ome_tiff, write_ome_tiffs

__all__ = [
    "Files",
    "Frames",
    "ImageFile",
    "LazyImage",
    "check_tiff_name",
    "each_of",
    "fingerprint",
    "identity",
    "list_files",
    "only_channel",
    "open_image",
    "read_frames",
    "read_image",
    "read_repeats",
    "write_ome_tiff",
    "write_ome_tiffs",
]
