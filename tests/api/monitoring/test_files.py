"""The alerts, the dashboard and the documentation name metrics that there are."""

import re
from pathlib import Path

import pytest

from api.monitoring import make_histogram
from api.monitoring.database_figures import build_metrics
from runtime.metrics import Rounds, make_registry

DOCS = Path(__file__).parents[3] / "docs"
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
    "info": ("_info",),
}


def names() -> set[str]:
    """Of all time series."""
    registry = make_registry("api")
    make_histogram(registry)
    for loop in ("sweep_round", "mirror_pass"):
        Rounds(registry, loop)
    metrics = [*registry.collect(), *build_metrics([], {})]
    own = {one.name + end for one in metrics for end in SUFFIXES.get(one.type, ("",))}
    return own | {"normlab_database_up"}


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_a_file_names_metrics_that_there_are(file: str) -> None:
    named = set(re.findall(r"\bnormlab_\w+", (DOCS / "monitoring" / file).read_text()))
    assert len(named) > 5
    assert named - names() == set()
