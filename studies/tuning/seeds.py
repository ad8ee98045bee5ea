"""Who gets another seed in a search with `stop: wilcoxon`: after the first ones, a trial that isn't behind.

It is compared with the best trial of earlier batches of its arm, at the seeds that it has. Those have all ended, so that who
is left doesn't depend on who is faster.
"""

from collections.abc import Sequence

from store.results import ResultRow
from studies.spec import Cell, StudySpec, expand_setting
from studies.stats import higher_is_better, score, validation_metric
from studies.tuning.stopping import is_behind, policy_of
from studies.tuning.trials import Trials


def begin_with(spec: StudySpec, cells: Sequence[Cell]) -> Sequence[Cell]:
    """Of a proposed setting's trials, in the order of the seeds, those that are made at once."""
    assert spec.search is not None
    stop = spec.search.stop
    return cells if stop is None else cells[: stop.first_seeds]


def continue_seeds(spec: StudySpec, trials: Trials) -> list[Cell]:
    """Of an arm whose trials have ended, those of its last batch that go on, at one more seed each."""
    search = spec.search
    assert search is not None
    if search.stop is None or search.stop.first_seeds is None:
        return []
    # The first batch has no peers, and all of its seeds.
    begin = search.batch_of(len(trials.settings) - 1)
    earlier = [_read_values(rows, spec.metric) for _, rows in trials.settings[:begin]]
    whole = [values for values in earlier if len(values) == len(search.seeds)]
    policy = policy_of(search.stop)
    # Each of a batch might be left: the first ones may be, until the quota is used up.
    left = sum(len(rows) < len(search.seeds) for _, rows in trials.settings[:begin])
    quota = policy.most_stopped(search.trials) - left
    cells: list[Cell] = []
    for place, (setting, rows) in enumerate(trials.settings[begin:]):
        values = _read_values(rows, spec.metric)
        # One without a value at some seed has no mean, whatever comes of the others.
        if len(rows) == len(search.seeds) or len(values) < len(rows):
            continue
        if place < quota and whole:
            best = max(whole, key=lambda by_seed: sum(by_seed.values()))
            gaps = [value - best[seed] for seed, value in values.items()]
            if is_behind(gaps, policy.level):
                continue
        left_seeds = [seed for seed in search.seeds if seed not in values]
        further = expand_setting(spec, trials.variant, trials.point, setting)
        cells += [cell for cell in further if cell.seed == left_seeds[0]]
    return cells


def _read_values(rows: Sequence[ResultRow], metric: str) -> dict[int, float]:
    """By seed, the higher the better; those that have a value."""
    column = validation_metric(metric)
    sign = 1.0 if higher_is_better(column) else -1.0
    values = {row.seed: score(row, column).value for row in rows}
    return {seed: sign * value for seed, value in values.items() if value is not None}
