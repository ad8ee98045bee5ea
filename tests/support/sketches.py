"""Reports whose figures aren't drawn, for tests that look at something else."""

import base64
import json

from studies.rendering import Renderer
from studies.report import ReportInput, available_figures

#: In place of any that is drawn.
PICTURE = b"a picture"


class Sketcher(Renderer):
    """Has a report's files at once: its figures take longer to draw than all else around them."""

    def render(self, content: bytes, *arguments: str) -> bytes:
        assert arguments == ("report",)
        figures = available_figures(ReportInput.model_validate_json(content))
        picture = base64.b64encode(PICTURE).decode()
        pictures = {figure.name: picture for figure in figures}
        return json.dumps({"page": "a page", "figures": pictures}).encode()
