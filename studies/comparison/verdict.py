"""The study's verdict in a sentence, a sentence for each comparison, and what a reader should be careful about.

Under 8 seeds there is no verdict. A study that grew without having said so beforehand gets one that is exploratory.
"""

from collections.abc import Iterator, Sequence

from store.results import ResultRow
from studies.comparison.differences import UNFINISHED
from studies.comparison.evidence import Arm, StudyEvidence
from studies.comparison.schemas import Best, Difference, State, VariantSummary, Verdict
from studies.spec import ENOUGH_SEEDS
from studies.stats import (
    bounds,
    chance,
    count,
    finite,
    gap,
    group_sequential,
    inference,
    listed,
    size,
)

_SPLITS = {
    "fixed": "the split of the data is the same at every seed: the answer is about this split",
    "resampled": "the split of the data is drawn again at each seed; intervals and tests allow for the "
    "overlap of the training sets (Nadeau & Bengio 2003)",
    "subsets": "each seed draws other training examples of the data; validation and test are the same at "
    "every seed: the answer is about training sets of this size from this data",
}

#: A job is *still improving* if it ended at the limit of its epochs or steps (not by early stopping, not diverged)
#: and its best evaluation, by the metric that the job monitors, is among the last tenth of all, rounded up. A
#: training that has come to rest, whose best is as likely at one evaluation as at any other, has it there by
#: chance in 10 % (1 of 10) to 18 % (2 of 11) of all cases. So a variant is reported only if more than half of its
#: jobs are like that. With fewer than this many evaluations the last one alone is more than a tenth of them.
FEWEST_EVALUATIONS = 10
#: The last tenth of the evaluations.
_PARTS = 10


def judge(
    evidence: StudyEvidence,
    blockers: tuple[str, ...],
    variants: Sequence[VariantSummary],
    best: Best | None,
) -> Verdict:
    """The study's verdict; `variants` carry their decided differences."""
    seeds = len(evidence.seeds)
    # Before the blockers: with three seeds there is no verdict, whatever is repaired.
    if seeds < ENOUGH_SEEDS:
        sentence = (
            f"No verdict with {count(seeds, 'seed')}: from {ENOUGH_SEEDS} on there is one."
            + (f" On validation, {best.name} is best so far." if best else "")
        )
        return Verdict(state="too_few_seeds", sentence=sentence, reasons=blockers)
    if blockers:
        return Verdict(state="withheld", sentence=_describe_withheld(evidence), reasons=blockers)
    compared = [one for one in variants if one.difference is not None]
    sentence = _describe_best(evidence, variants, best)
    others = tuple(
        _describe_difference(evidence, one) for one in compared if not best or one.name != best.name
    )
    if evidence.is_exploratory:
        sentence = f"Exploratory, because {_explain_growth(evidence)}: {sentence}"
        return Verdict(state="exploratory", sentence=sentence, reasons=others)
    # Better, worse and equivalent are answers. A study is undecided only if no comparison has one.
    is_answered = any(
        one.difference is not None and one.difference.decision not in (None, "undecided")
        for one in compared
    )
    state: State = "decided" if is_answered else "undecided"
    return Verdict(state=state, sentence=sentence, reasons=others)


def _explain_growth(evidence: StudyEvidence) -> str:
    study = evidence.study
    if study.looks:
        return f"the study has {len(study.seed_list)} seeds, and looks were declared at {listed([str(n) for n in study.looks])}"
    return f"the study had {count(evidence.planned, 'seed')} planned and was given others later"


def _describe_withheld(evidence: StudyEvidence) -> str:
    unfinished, jobs = _count_unfinished(evidence)
    if unfinished:
        return f"No verdict yet: {unfinished} of {count(jobs, 'job')} are not finished."
    return "The verdict is withheld."


def _describe_best(
    evidence: StudyEvidence, variants: Sequence[VariantSummary], best: Best | None
) -> str:
    baseline, metric = evidence.study.baseline, evidence.metric.replace("_", " ")
    if best is None:
        return "No variant has a value on validation, so none is best."
    # Best on validation need not be best on test. Where the two disagree both are said, and neither is hidden
    # behind the other.
    if best.variant == baseline:
        better = [
            one.name
            for one in variants
            if one.point == best.point
            and one.difference is not None
            and one.difference.decision == "better"
        ]
        if better:
            return (
                f"{best.name} is best on validation, but on {metric} {listed(better)} did better."
            )
        where = f"{best.name}, which" if best.point else f"{baseline}, which"
        return f"No variant is better than {where} is best on validation."
    winner = next(one for one in variants if one.name == best.name)
    if winner.difference is None:
        return f"{best.name} is best on validation; there is no {baseline} at its point."
    sentence = _describe_difference(evidence, winner)
    if winner.difference.decision == "better":
        return f"{sentence} On validation it is best of all."
    return f"On validation {best.name} is best, but {metric} doesn't confirm it: {sentence}"


def _describe_difference(evidence: StudyEvidence, one: VariantSummary) -> str:
    """A sentence about a comparison."""
    difference, baseline, metric = one.difference, evidence.study.baseline, evidence.metric
    assert difference is not None
    if difference.mean is None or difference.interval is None or difference.p_adjusted is None:
        return f"{one.name} could not be compared with {baseline}."
    is_repeated = difference.repeated_interval is not None
    interval = difference.repeated_interval or difference.interval
    seen = (
        f"{gap(difference.mean, metric)} of {metric.replace('_', ' ')} "
        f"({inference.CONFIDENCE * 100:.0f} % {'repeated ' if is_repeated else ''}interval {bounds(interval, metric)}, "
        f"{chance(difference.p_adjusted)}{_describe_correction(evidence)}, {count(difference.n, 'seed')})"
    )
    match difference.decision:
        case "better" | "worse":
            return f"{one.name} is {difference.decision} than {baseline}: {seen}."
        case "equivalent":
            margin = size(evidence.study.margin or 0.0, metric)
            return f"{one.name} is equivalent to {baseline} within {margin}: {seen}."
        case _:
            return f"{one.name} can't be distinguished from {baseline}: {seen}{_describe_power(difference, metric)}."


def _describe_correction(evidence: StudyEvidence) -> str:
    """How many comparisons p is corrected for, and which look it is held to what level at."""
    family, looks, taken = evidence.family, evidence.study.looks, len(evidence.taken_looks)
    correction = f" after Holm over {family} comparisons" if family > 1 else ""
    if looks and taken:
        # What the corrected p-value is held to at this look. With several comparisons it is only about this: the
        # level of each is computed within its own share, which doesn't scale evenly.
        spending = evidence.study.spending
        level = group_sequential.nominal_levels(looks, inference.LEVEL, spending)[taken - 1]
        correction += f", at look {taken} of {len(looks)}, which asks for about {level:.2g}"
    return correction


def _describe_power(difference: Difference, metric: str) -> str:
    if difference.to_see is None:
        return ""
    what = f"to see a difference of {size(difference.to_see, metric)}"
    if difference.seeds_needed is None:
        return f"; no number of seeds within reason would be enough {what}"
    if difference.seeds_needed <= difference.n:
        return f"; {count(difference.n, 'seed')} had a power of at least 80 % {what}"
    return f"; about n = {difference.seeds_needed} seeds would be needed {what}"


def _count_unfinished(evidence: StudyEvidence) -> tuple[int, int]:
    """Jobs at the analysed seeds that haven't ended, and all jobs there."""
    rows = [
        arm.rows[seed]
        for arm in evidence.arms.values()
        for seed in evidence.seeds
        if seed in arm.rows
    ]
    return sum(row.status in UNFINISHED for row in rows), len(rows)


def list_caveats(evidence: StudyEvidence, variants: Sequence[VariantSummary]) -> Iterator[str]:
    """About the seeds, the splits, the tuning, the jobs' ends, and what isn't the same in all jobs."""
    study, seeds = evidence.study, len(evidence.seeds)
    if seeds < ENOUGH_SEEDS:
        yield f"{count(seeds, 'seed')}: under {ENOUGH_SEEDS} there are no p-values and no verdict"
    if study.looks and evidence.taken_looks:
        yield (
            f"look {len(evidence.taken_looks)} of {len(study.looks)}, at {seeds} seeds; decisions and repeated intervals "
            "allow for looking more than once, other intervals don't"
        )
    if study.until is not None:
        yield _describe_growth(evidence)
    if evidence.is_exploratory:
        yield (
            f"the study was extended beyond the {evidence.planned} seeds that it was planned with: "
            "whoever adds seeds until something is significant finds something by chance"
        )
    yield _SPLITS[study.splits]
    if (tune := study.tune) is not None:
        yield (
            f"{listed(list(tune.settings))} was tuned: every arm tried the same "
            f"{count(len(tune.candidates()), 'setting')} at seeds {listed(list(map(str, tune.seeds)))}, which "
            "are none of these, and went on with its best on validation"
        )
    if (search := study.search) is not None:
        stopped = "" if search.stop is None else " (those that fell behind were stopped early)"
        yield (
            f"every arm looked for its own {listed(list(study.tuned_paths))} with {count(search.trials, 'trial')} at seeds "
            f"{listed(list(map(str, search.seeds)))}{stopped}, which are none of these, and went on with its best on validation"
        )
        for arm, tried in evidence.tried.items():
            if tried < search.trials:
                yield f"{arm} had {tried} trials of {search.trials}: its space has no others that can be trained"
    if evidence.pretraining is not None:
        yield from _describe_pretraining(evidence, evidence.pretraining)
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
    for what, values in evidence.varying:
        yield f"{what} isn't the same in all jobs: {values} different ones"


def _describe_pretraining(evidence: StudyEvidence, pretraining: Arm) -> Iterator[str]:
    begun = {
        arm.name: any(row.spec.get("init_from") for row in arm.rows.values())
        for arm in evidence.arms.values()
    }
    names = [name for name, has_begun in begun.items() if has_begun]
    who = "all arms" if len(names) == len(begun) else listed(names)
    jobs = sorted(row.job_id for row in pretraining.rows.values())
    if names:
        yield (
            f"at each seed {who} started from the weights of one pretraining ({_name_jobs(jobs)}), which is not part of the "
            "comparison: its randomness is shared, and the differences are those of the trainings that followed"
        )
    diverged = [row for row in pretraining.rows.values() if row.reason == "diverged"]
    if diverged:
        seeds = listed([f"{row.seed} (j{row.job_id})" for row in diverged])
        yield f"the pretraining diverged at seed {seeds}: what began from it has its checkpoint from before"


def _name_jobs(jobs: Sequence[int]) -> str:
    """`j1 to j8`; those of seeds that were added later do not follow the others."""
    if len(jobs) > 2 and jobs[-1] - jobs[0] == len(jobs) - 1:
        return f"j{jobs[0]} to j{jobs[-1]}"
    return listed([f"j{job}" for job in jobs])


def _describe_growth(evidence: StudyEvidence) -> str:
    study, taken = evidence.study, len(evidence.taken_looks)
    seeds = len(study.seed_list)
    is_under_way = taken < len(study.looks) and study.looks[taken] <= seeds
    now = f"; look {taken + 1}, at {study.looks[taken]} seeds, is under way" if is_under_way else ""
    return (
        f"the study grows by itself, to {study.looks[-1]} seeds at most, and stops at the look at which every "
        f"{'claim' if study.claims else 'comparison'} is decided{now}: where it has stopped early, mean differences are "
        "likelier too large than too small"
    )


def _describe_jobs(one: VariantSummary) -> Iterator[str]:
    if one.diverged:
        guessed = sum(value.at_chance for value in one.values)
        jobs = [value.job_id for value in one.values if value.value is None]
        # Diverged jobs are of three sorts. Those without any value are what remains of the jobs without a value
        # when the failed, cancelled and unfinished ones are taken off.
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
    # Counted over all variants, so that one slow variant isn't taken for a study that was too short.
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
