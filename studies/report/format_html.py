"""A report as one HTML file: styles and pictures inside, no scripts, nothing fetched. Whatever a person wrote
is escaped."""

import base64
from collections.abc import Mapping

from studies.report.page import make_page
from studies.report.schemas import ReportInput


def to_html(report: ReportInput, pictures: Mapping[str, bytes]) -> str:
    """`pictures`: the PNG of each figure, by its name."""
    # Imported here: the API's process reads reports, and never writes one as HTML.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("studies.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    encoded = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    return environment.get_template("report.html").render(page=make_page(report), pictures=encoded)
