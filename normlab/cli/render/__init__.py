"""How answers look in a terminal."""

from normlab.cli.render.comparison import (
    ComparisonFormat,
    show_claims,
    show_comparison,
    show_side_by_side,
)
from normlab.cli.render.datasets import say_outcome, show_dataset
from normlab.cli.render.export_progress import ExportProgress
from normlab.cli.render.output import (
    Column,
    Format,
    Item,
    Output,
    ago,
    console,
    duration,
    emit,
    field,
    raw,
    say,
    say_paragraph,
    size,
    status,
    until,
)
from normlab.cli.render.patience import Patience
from normlab.cli.render.plan import CELLS, bill_lines, show_plan, trials_of
from normlab.cli.render.preset_pages import find_others, start_all, write_markdown, write_pages
from normlab.cli.render.progress import (
    describe_pretraining,
    describe_trials,
    draw,
    importance_lines,
    summary,
    tell,
)
from normlab.cli.render.queue import show_queue, waiting_lines
from normlab.cli.render.service import SHOWN, problem_lines, say_mirror, say_workers
from normlab.cli.render.stack_progress import StackProgress
from normlab.cli.render.thumbnails import PIXELS, show_thumbnails
from normlab.cli.render.units import interval, scaled, test_metric, unit_name
from normlab.cli.render.weights import BEST, say_how_to_load

__all__ = [
    "BEST",
    "CELLS",
    "PIXELS",
    "SHOWN",
    "Column",
    "ComparisonFormat",
    "ExportProgress",
    "Format",
    "Item",
    "Output",
    "Patience",
    "StackProgress",
    "ago",
    "bill_lines",
    "console",
    "describe_pretraining",
    "describe_trials",
    "draw",
    "duration",
    "emit",
    "field",
    "find_others",
    "importance_lines",
    "interval",
    "problem_lines",
    "raw",
    "say",
    "say_how_to_load",
    "say_mirror",
    "say_outcome",
    "say_paragraph",
    "say_workers",
    "scaled",
    "show_claims",
    "show_comparison",
    "show_dataset",
    "show_plan",
    "show_queue",
    "show_side_by_side",
    "show_thumbnails",
    "size",
    "start_all",
    "status",
    "summary",
    "tell",
    "test_metric",
    "trials_of",
    "unit_name",
    "until",
    "waiting_lines",
    "write_markdown",
    "write_pages",
]
