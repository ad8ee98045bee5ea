"""Everything that a person may read, as a folder of files that need no Normlab."""

from normlab.exporting.everything import Exported, Selection, export_everything
from normlab.exporting.folder import Progress

__all__ = ["Exported", "Progress", "Selection", "export_everything"]
