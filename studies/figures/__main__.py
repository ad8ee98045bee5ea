"""`python -m studies.figures report`: reads a report's input (or learning curves) as JSON, writes what was asked for,
and ends. So what drawing costs in memory and time ends with it.

`report` writes JSON: {page: HTML, figures: {name: PNG in base64}}; all else the bytes of the picture or page:
`figure NAME FORMAT`, `curves FORMAT`.
"""

import argparse
import base64
import json
import sys
from typing import Literal, cast, get_args

from runtime.process import end_with_parent, lower_priority
from studies.figures.curves import draw_curves
from studies.figures.mpl import encode
from studies.figures.render import draw, render_all
from studies.report import Curves, PictureFormat, ReportInput, to_html

Output = Literal["report", "html", "figure", "curves"]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    end_with_parent()
    lower_priority()
    content = sys.stdin.buffer.read()
    match cast(Output, options.output):
        case "curves":
            figure = draw_curves(Curves.model_validate_json(content))
            rendered = encode(figure, options.name or "png")
        case output:
            report = ReportInput.model_validate_json(content)
            rendered = render(report, output, options.name, options.format)
    sys.stdout.buffer.write(rendered)
    return 0


def render(
    report: ReportInput,
    output: Literal["report", "html", "figure"],
    name: str = "",
    format: PictureFormat = "png",
) -> bytes:
    """The bytes of the page, of one figure, or of the page and all figures as JSON."""
    match output:
        case "report":
            pictures = dict(render_all(report))
            encoded = {
                name: base64.b64encode(picture).decode() for name, picture in pictures.items()
            }
            return json.dumps({"page": to_html(report, pictures), "figures": encoded}).encode()
        case "html":
            return to_html(report, dict(render_all(report))).encode()
        case "figure":
            return encode(draw(report, name), format)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies.figures", description=__doc__)
    parser.add_argument("output", choices=get_args(Output))
    parser.add_argument(
        "name", nargs="?", default="", help="of the figure; of curves, their format"
    )
    parser.add_argument(
        "format", nargs="?", default="png", choices=get_args(PictureFormat), help="of the figure"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
