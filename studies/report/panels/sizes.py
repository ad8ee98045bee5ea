"""How large a study's own figure is: it follows from its panels, so that a page can keep the room for it."""

from collections.abc import Sequence

from studies.report.panels.schemas import Fans, Nothing, PanelData, Planes, Tiles

#: Inches.
WIDTH = 9.0
#: Fans and planes side by side.
ACROSS = 4
#: Inches, for the note at the foot.
_FOOT = 0.4


def figure_height(panels: Sequence[PanelData]) -> float:
    """In inches; every figure is `WIDTH` wide."""
    return sum(map(panel_height, panels)) + _FOOT


def panel_height(panel: PanelData) -> float:
    """In inches."""
    match panel:
        case Tiles():
            return 0.3 + sum(_picture_height(row.pictures.shape) for row in panel.rows)
        case Planes():
            return 2.6 * -(-len(panel.planes) // ACROSS)
        case Fans():
            return 2.3 * -(-len(panel.fans) // ACROSS)
        case Nothing():
            return 0.8
        case _:
            return 3.2


def _picture_height(shape: Sequence[int]) -> float:
    """Of a row of N × C × H × W that is as wide as the figure, its label above."""
    return min(1.3, WIDTH / max(shape[0], 1) * shape[2] / shape[3]) + 0.25
