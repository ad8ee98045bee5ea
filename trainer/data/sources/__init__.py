"""Where datasets come from: files and formulas, their labels, and how their images are read."""

from trainer.data.sources.find import Array, Opened, Part, open_source
from trainer.data.sources.pixels import Change, Decoded, Encoded, Reader, moments
from trainer.data.sources.records import entry, plural

__all__ = [
    "Array",
    "Change",
    "Decoded",
    "Encoded",
    "Opened",
    "Part",
    "Reader",
    "entry",
    "moments",
    "open_source",
    "plural",
]
