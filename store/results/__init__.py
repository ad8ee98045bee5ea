"""Reading results: rows, columns, order, series, leaderboards."""

from store.results import (
    compared,
    groups,
    history,
    leaderboard,
    overview,
    pace,
    result_rows,
    series,
    start_estimates,
)
from store.results.columns import SPEC_WITHOUT_SEED, Column, parse_columns, parse_keys, parse_metric
from store.results.compared import ComparedJob
from store.results.groups import ResultGroup
from store.results.history import Taken
from store.results.leaderboard import RankedEntry, RankedJob
from store.results.ordering import Order, parse_order
from store.results.overview import Progress, Share
from store.results.pace import FinishedJob
from store.results.result_rows import ResultRow, matching
from store.results.series import LayerSnapshot
from store.results.start_estimates import StartError

__all__ = [
    "SPEC_WITHOUT_SEED",
    "Column",
    "ComparedJob",
    "FinishedJob",
    "LayerSnapshot",
    "Order",
    "Progress",
    "RankedEntry",
    "RankedJob",
    "ResultGroup",
    "ResultRow",
    "Share",
    "StartError",
    "Taken",
    "compared",
    "groups",
    "history",
    "leaderboard",
    "matching",
    "overview",
    "pace",
    "parse_columns",
    "parse_keys",
    "parse_metric",
    "parse_order",
    "result_rows",
    "series",
    "start_estimates",
]
