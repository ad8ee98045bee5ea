"""`python -m studies.figures figures NAME...`: reads a report's input (or learning curves) as JSON, writes what was
asked for, and ends. So what drawing costs in memory and time ends with it.

`figures` is answered with a JSON object of PNGs in base64 by name, all else with the bytes of the picture or page.
"""

import argparse
import base64
import json
import sys
from typing import Literal, cast, get_args

from runtime.priority import end_with_parent, lower_priority
from studies.figures.curves import draw_curves
from studies.figures.mpl import encode, png
from studies.figures.render import draw, render_all
from studies.report import Curves, ReportInput, to_html

Output = Literal["html", "figure", "figures", "curves"]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    end_with_parent()
    lower_priority()
    content = sys.stdin.buffer.read()
    names: list[str] = options.names
    match cast(Output, options.output):
        case "curves":
            format: Literal["png", "svg"] = "svg" if "svg" in names else "png"
            rendered = encode(draw_curves(Curves.model_validate_json(content)), format)
        case "figures":
            rendered = _render_figures(ReportInput.model_validate_json(content), names)
        case output:
            rendered = render(ReportInput.model_validate_json(content), output, *names)
    sys.stdout.buffer.write(rendered)
    return 0


def render(report: ReportInput, output: Literal["html", "figure"], name: str = "") -> bytes:
    """The bytes of the whole page, or of one figure as PNG."""
    match output:
        case "html":
            return to_html(report, dict(render_all(report))).encode()
        case "figure":
            return png(draw(report, name))


def _render_figures(report: ReportInput, names: list[str]) -> bytes:
    pictures = {name: base64.b64encode(png(draw(report, name))).decode() for name in names}
    return json.dumps(pictures).encode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies.figures", description=__doc__)
    parser.add_argument("output", choices=get_args(Output))
    parser.add_argument("names", nargs="*", help="of the figures; png or svg for curves")
    return parser


if __name__ == "__main__":
    sys.exit(main())
