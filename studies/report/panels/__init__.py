"""The data of a study's own figure, panel by panel."""

from studies.report.panels.build import read_panels
from studies.report.panels.kept_arrays import ARRAYS, MOST_BYTES, Arrays, read_arrays
from studies.report.panels.schemas import (
    Bars,
    Column,
    Fan,
    Fans,
    Images,
    Lines,
    Nothing,
    PanelData,
    Plane,
    Planes,
    Steps,
    Tiles,
)
from studies.report.panels.sizes import ACROSS, WIDTH, figure_height, panel_height

__all__ = [
    "ACROSS",
    "ARRAYS",
    "MOST_BYTES",
    "WIDTH",
    "Arrays",
    "Bars",
    "Column",
    "Fan",
    "Fans",
    "Images",
    "Lines",
    "Nothing",
    "PanelData",
    "Plane",
    "Planes",
    "Steps",
    "Tiles",
    "figure_height",
    "panel_height",
    "read_arrays",
    "read_panels",
]
