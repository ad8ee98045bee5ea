"""A report for a program: all its data, without pictures and what only they need."""

import dataclasses
import json

from studies.report.figure_list import list_figures
from studies.report.schemas import ReportInput

#: Pictures' data are in files of their own: the jobs' `files` name them.
_PICTURED = {"fans", "filters", "histograms", "panels"}


def to_json(report: ReportInput) -> bytes:
    """With `figures`: which there are by name, and how to get those that are lacking."""
    data = report.model_dump(mode="json", exclude=_PICTURED)
    data["figures"] = [
        # `lacks` is the earlier name of `missing_reason`.
        {**dataclasses.asdict(figure), "lacks": figure.missing_reason}
        for figure in list_figures(report)
    ]
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False).encode()
