"""`python -m studies.figures html`: reads a report's input (or learning curves) as JSON, writes what was asked
for, and ends. So what drawing costs in memory and time ends with it."""

import argparse
import sys
from typing import Literal, get_args

from runtime.priority import lower_priority
from studies.figures.curves import draw_curves
from studies.figures.mpl import encode, png
from studies.figures.render import draw, gallery
from studies.report import Curves, ReportInput, to_html

Wanted = Literal["html", "figure", "curves"]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    lower_priority()
    content = sys.stdin.buffer.read()
    if options.wanted == "curves":
        drawn = encode(draw_curves(Curves.model_validate_json(content)), options.name or "png")
    else:
        drawn = render(ReportInput.model_validate_json(content), options.wanted, options.name)
    sys.stdout.buffer.write(drawn)
    return 0


def render(report: ReportInput, wanted: Literal["html", "figure"], name: str = "") -> bytes:
    """The bytes of the whole page, or of one figure as PNG."""
    match wanted:
        case "html":
            pictures = {exhibit.name: content for exhibit, content in gallery(report)}
            return to_html(report, pictures).encode()
        case "figure":
            return png(draw(report, name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies.figures", description=__doc__)
    parser.add_argument("wanted", choices=get_args(Wanted))
    parser.add_argument("name", nargs="?", default="", help="of the figure; png or svg for curves")
    return parser


if __name__ == "__main__":
    sys.exit(main())
