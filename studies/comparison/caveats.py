"""What a reader of a comparison should be careful about, a line each."""

from collections.abc import Iterator, Sequence

from studies.comparison.blockers import Findings
from studies.comparison.confounds import varying
from studies.comparison.convergence import convergence_note
from studies.comparison.schemas import VariantSummary
from studies.spec import ENOUGH_SEEDS
from studies.stats import count, listed

_SPLITS = {
    "fixed": "the split of the data is the same at every seed: the answer is about this split",
    "resampled": "the split of the data is drawn anew at each seed; intervals and tests allow for the "
    "overlap of the training sets (Nadeau & Bengio 2003)",
    "subsets": "each seed draws other training examples of the data; validation and test are the same at "
    "every seed: the answer is about training sets of this size from this data",
}


def notes(findings: Findings, variants: Sequence[VariantSummary]) -> Iterator[str]:
    study, analysis = findings.study, findings.analysis
    seeds = len(analysis.seeds)
    if seeds < ENOUGH_SEEDS:
        yield f"{count(seeds, 'seed')}: under {ENOUGH_SEEDS} there are no p-values and no verdict"
    if study.looks and analysis.looks:
        yield (
            f"look {len(analysis.looks)} of {len(study.looks)}, at {seeds} seeds; intervals are not "
            "corrected for looking more than once, decisions are"
        )
    if analysis.is_exploratory:
        yield (
            f"the study was extended beyond the {analysis.planned} seeds that it was planned with: "
            "whoever looks until something shows will see something"
        )
    yield _SPLITS[study.splits]
    if (tune := study.tune) is not None:
        yield (
            f"{listed(list(tune.settings))} was tuned: every arm tried the same "
            f"{count(len(tune.candidates()), 'setting')} at seeds {listed(list(map(str, tune.seeds)))}, which "
            "are none of these, and went on with its best on validation"
        )
    yield from convergence_note(variants)
    for one in variants:
        yield from _about(one)
    silent = sum(
        not row.facts and row.status == "succeeded"
        for arm in findings.arms
        for row in arm.rows.values()
    )
    if silent:
        yield (
            f"{count(silent, 'job')} have no record of what their training turned out to be: hidden "
            "differences between variants can't be seen in them"
        )
    for what, values in varying(findings.arms):
        yield f"{what} isn't the same in all jobs: {values} different ones"


def _about(one: VariantSummary) -> Iterator[str]:
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
