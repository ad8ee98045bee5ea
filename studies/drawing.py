"""`python -m studies.drawing html`: reads a report's input as JSON, writes what was asked for, and ends. So what
drawing costs in memory and time ends with it. Knows no database and no HTTP."""

import argparse
import os
import sys
from typing import Literal, get_args

from studies.canvas import png
from studies.gallery import draw, gallery
from studies.report import ReportInput
from studies.report_html import to_html

Wanted = Literal["html", "figure"]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Training and answering come first on a machine that all share.
    os.nice(5)
    report = ReportInput.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(render(report, options.wanted, options.name))
    return 0


def render(report: ReportInput, wanted: Wanted, name: str = "") -> bytes:
    """The bytes of the whole page, or of one figure as PNG."""
    match wanted:
        case "html":
            pictures = {exhibit.name: content for exhibit, content in gallery(report)}
            return to_html(report, pictures).encode()
        case "figure":
            return png(draw(report, name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies.drawing", description=__doc__)
    parser.add_argument("wanted", choices=get_args(Wanted))
    parser.add_argument("name", nargs="?", default="", help="of the figure")
    return parser


if __name__ == "__main__":
    sys.exit(main())
