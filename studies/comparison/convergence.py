"""Whether trainings had come to rest when they ended. Pure.

A job counts as *still improving* if it ended at the limit of its epochs or steps (not by early stopping, not
diverged) and its best evaluation, by the metric that the job monitors, is among the last tenth of all, rounded
up. A training that has come to rest, whose best is as likely at one evaluation as at any other, has it there
by chance in 10 % (1 of 10) to 18 % (2 of 11) of all cases. So a variant is reported only if more than half of
its jobs are like that. With fewer than ten evaluations the last one alone is more than a tenth of them, and
nothing is said.
"""

from collections.abc import Iterator, Sequence

from store.results import ResultRow
from studies.comparison.schemas import VariantSummary
from studies.comparison.scoring import finite
from studies.stats import count, listed

FEWEST_EVALUATIONS = 10
#: One part in so many, at the end.
_PARTS = 10


def is_still_improving(row: ResultRow) -> bool:
    """Whether the job ended at its limit with its best evaluation among the last tenth."""
    if row.status != "succeeded" or row.reason != "completed":
        return False
    evaluations, best = (finite(row.metrics.get(name)) for name in ("epochs", "best_epoch"))
    if evaluations is None or best is None or evaluations < FEWEST_EVALUATIONS:
        return False
    return best > evaluations - -(-evaluations // _PARTS)


def convergence_note(variants: Sequence[VariantSummary]) -> Iterator[str]:
    """A line where most jobs of a variant were still improving, with the count of each such variant."""
    unfinished = [one for one in variants if 2 * one.still_improving > _ended(one)]
    if not unfinished:
        return
    improving, ended = sum(one.still_improving for one in variants), sum(map(_ended, variants))
    is_most = 2 * improving > ended
    counts = [f"{one.name} {one.still_improving} of {_ended(one)}" for one in unfinished]
    yield (
        f"not converged{'' if is_most else ' in some variants'}: {improving} of {count(ended, 'job')} ended at the "
        "limit of epochs or steps with the best evaluation in the last tenth, still improving "
        f"({listed(counts)}); a longer training may rank the variants differently"
    )


def _ended(one: VariantSummary) -> int:
    """Jobs that succeeded."""
    return len(one.values) - one.failed - one.cancelled - one.pending
