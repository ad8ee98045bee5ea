"""What a reader of a comparison should be careful about, a line each."""

from collections.abc import Iterator, Sequence

from store.results import ResultRow
from studies.comparison.arms import finite
from studies.comparison.confounds import find_varying
from studies.comparison.evidence import StudyEvidence
from studies.comparison.schemas import VariantSummary
from studies.spec import ENOUGH_SEEDS
from studies.stats import count, listed

_SPLITS = {
    "fixed": "the split of the data is the same at every seed: the answer is about this split",
    "resampled": "the split of the data is drawn again at each seed; intervals and tests allow for the "
    "overlap of the training sets (Nadeau & Bengio 2003)",
    "subsets": "each seed draws other training examples of the data; validation and test are the same at "
    "every seed: the answer is about training sets of this size from this data",
}


def list_caveats(evidence: StudyEvidence, variants: Sequence[VariantSummary]) -> Iterator[str]:
    """About the seeds, the splits, the tuning, the jobs' ends, and what isn't the same in all jobs."""
    study, seeds = evidence.study, len(evidence.seeds)
    if seeds < ENOUGH_SEEDS:
        yield f"{count(seeds, 'seed')}: under {ENOUGH_SEEDS} there are no p-values and no verdict"
    if study.looks and evidence.taken_looks:
        yield (
            f"look {len(evidence.taken_looks)} of {len(study.looks)}, at {seeds} seeds; intervals are not "
            "corrected for looking more than once, decisions are"
        )
    if evidence.is_exploratory:
        yield (
            f"the study was extended beyond the {evidence.planned} seeds that it was planned with: "
            "whoever looks until something shows will see something"
        )
    yield _SPLITS[study.splits]
    if (tune := study.tune) is not None:
        yield (
            f"{listed(list(tune.settings))} was tuned: every arm tried the same "
            f"{count(len(tune.candidates()), 'setting')} at seeds {listed(list(map(str, tune.seeds)))}, which "
            "are none of these, and went on with its best on validation"
        )
    yield from note_convergence(variants)
    for one in variants:
        yield from _describe_jobs(one)
    silent = sum(
        not row.facts and row.status == "succeeded"
        for arm in evidence.arms.values()
        for row in arm.rows.values()
    )
    if silent:
        yield (
            f"{count(silent, 'job')} have no record of what their training turned out to be: hidden "
            "differences between variants can't be seen in them"
        )
    for what, values in find_varying(evidence.arms.values()):
        yield f"{what} isn't the same in all jobs: {values} different ones"


def _describe_jobs(one: VariantSummary) -> Iterator[str]:
    if one.diverged:
        guessed = sum(value.at_chance for value in one.values)
        jobs = [value.job_id for value in one.values if value.value is None]
        lost = max(0, len(jobs) - one.pending - one.failed - one.cancelled)
        reached = one.diverged - guessed - lost
        said = [
            f"{reached} with their best checkpoint on validation" if reached else "",
            f"{guessed} with what guessing scores, having none" if guessed else "",
            f"{lost} have no finite value to count with" if lost else "",
        ]
        yield (
            f"{one.name}: {count(one.diverged, 'job')} diverged and count"
            f"{'s' if one.diverged == 1 else ''}: {', '.join(part for part in said if part)}"
        )
    if one.pending:
        yield f"{one.name}: {one.pending} of {count(len(one.values), 'job')} are not finished"
    if one.failed or one.cancelled:
        yield (
            f"{one.name}: {one.failed} failed and {one.cancelled} cancelled jobs have no value; "
            "the mean is over the rest and may flatter it"
        )


#: A job is *still improving* if it ended at the limit of its epochs or steps (not by early stopping, not diverged)
#: and its best evaluation, by the metric that the job monitors, is among the last tenth of all, rounded up. A
#: training that has come to rest, whose best is as likely at one evaluation as at any other, has it there by
#: chance in 10 % (1 of 10) to 18 % (2 of 11) of all cases. So a variant is reported only if more than half of its
#: jobs are like that. With fewer than this many evaluations the last one alone is more than a tenth of them.
FEWEST_EVALUATIONS = 10
#: The last tenth of the evaluations.
_PARTS = 10


def is_still_improving(row: ResultRow) -> bool:
    """Whether the job ended at its limit with its best evaluation among the last tenth."""
    if row.status != "succeeded" or row.reason != "completed":
        return False
    evaluations, best = (finite(row.metrics.get(name)) for name in ("epochs", "best_epoch"))
    if evaluations is None or best is None or evaluations < FEWEST_EVALUATIONS:
        return False
    return best > evaluations - -(-evaluations // _PARTS)


def note_convergence(variants: Sequence[VariantSummary]) -> Iterator[str]:
    """A line where most jobs of a variant were still improving, with the count of each such variant."""
    unfinished = [one for one in variants if 2 * one.still_improving > _count_ended(one)]
    if not unfinished:
        return
    improving, ended = (
        sum(one.still_improving for one in variants),
        sum(map(_count_ended, variants)),
    )
    is_most = 2 * improving > ended
    counts = [f"{one.name} {one.still_improving} of {_count_ended(one)}" for one in unfinished]
    yield (
        f"not converged{'' if is_most else ' in some variants'}: {improving} of {count(ended, 'job')} ended at the "
        "limit of epochs or steps with the best evaluation in the last tenth, still improving "
        f"({listed(counts)}); a longer training may rank the variants differently"
    )


def _count_ended(one: VariantSummary) -> int:
    """Jobs that succeeded."""
    return len(one.values) - one.failed - one.cancelled - one.pending
