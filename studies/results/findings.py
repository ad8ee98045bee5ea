"""What is found where groups stand side by side: the shapes of the answer, and the same in words."""

from collections.abc import Iterable, Iterator, Sequence

from studies.comparison import Confound, Difference, FrozenModel
from studies.results.grouping import Group
from studies.results.pairing import Unpaired
from studies.spec import ENOUGH_SEEDS
from studies.stats import count, listed


class ComparedGroup(Group):
    """A group beside the reference; its own numbers are over all of its jobs, paired or not.

    `repeated`: jobs left out because another of the same spec and seed stands for them; `environments`: in what they ran
    differently. `pairs`: its jobs with a partner in the reference; `incomplete`: pairs in which a job has no value.
    `difference`: group minus reference, over seeds; None without a pair. `withheld`: why it isn't judged.
    """

    name: str
    is_reference: bool
    repeated: int
    environments: tuple[str, ...] = ()
    pairs: int = 0
    incomplete: int = 0
    difference: Difference | None = None
    withheld: tuple[str, ...] = ()
    unpaired: tuple[Unpaired, ...] = ()


class SideBySide(FrozenModel):
    """All groups against the reference. `references`: what may be asked for in its place; `comparisons`: how many Holm's
    correction is over; `rule`: which jobs are pairs; `unpaired`: which aren't, and why."""

    metric: str
    higher_is_better: bool
    confidence: float
    reference: str
    references: tuple[str, ...]
    comparisons: int
    sentence: str
    rule: str
    notes: tuple[str, ...]
    unpaired: tuple[str, ...]
    groups: tuple[ComparedGroup, ...]
    confounds: tuple[Confound, ...]


def describe_findings(groups: Iterable[ComparedGroup], reference: str, metric: str) -> str:
    """All groups in one sentence."""
    by_finding: dict[str, list[str]] = {finding: [] for finding in _SINGULAR}
    for group in groups:
        if not group.is_reference:
            by_finding[_classify(group)].append(group.name)
    parts = [
        f"{listed(names)} {(_SINGULAR if len(names) == 1 else _PLURAL)[finding].format(reference)}"
        for finding, names in by_finding.items()
        if names
    ]
    return f"Exploratory, by {metric.replace('_', ' ')}: {'; '.join(parts)}."


def state_rule(by: Sequence[str]) -> str:
    """Which jobs are pairs."""
    allowed = (
        f"{listed(by)} and what comes with it"
        if by
        else "what their variants change in their studies"
    )
    return (
        f"Two jobs are a pair if they have the same seed, are measured on the same examples and have equal settings but for {allowed}; "
        "differences at one seed are averaged first, so that n counts seeds."
    )


def describe_unpaired(groups: Iterable[ComparedGroup], reference: str) -> Iterator[str]:
    """`batch: 12 of 15 jobs have no partner in none: they differ in training.batch_size`."""
    for group in groups:
        if not group.unpaired:
            continue
        number = sum(reason.jobs for reason in group.unpaired)
        reasons = (
            reason.why
            if len(group.unpaired) == 1
            else f"{reason.why} ({count(reason.jobs, 'job')})"
            for reason in group.unpaired
        )
        having = "has" if number == 1 else "have"
        yield (
            f"{group.name}: {number} of {count(group.jobs, 'job')} {having} no partner in {reference}: "
            f"{'; '.join(reasons)}"
        )


def list_caveats(
    groups: Sequence[ComparedGroup], metric: str, outcomes: Sequence[str], *, is_resampled: bool
) -> Iterator[str]:
    """What a reader should be careful about."""
    yield (
        "nothing of this comparison was fixed before the results were seen, neither its groups nor its metric nor its "
        "seeds: what it finds is a question for a study of its own"
    )
    if outcomes:
        yield (
            f"the jobs were selected by {listed(outcomes)}, which their training has decided: those that diverged or did "
            "badly may be missing, so that no group is called better or worse"
        )
    if metric.startswith(("test", "final_test")):
        yield (
            "the test set confirms what validation has chosen: the best of many groups by test owes some of its "
            "lead to luck"
        )
    if is_resampled:
        yield (
            "the split of the data isn't the same in all jobs; intervals and tests allow for the overlap of the "
            "training sets (Nadeau & Bengio 2003)"
        )
    for group in groups:
        yield from _describe_jobs(group)
        if group.withheld:
            yield f"{group.name} isn't judged: {'; '.join(group.withheld)}"


def _classify(group: ComparedGroup) -> str:
    if group.difference is None:
        return "unpaired"
    if group.difference.p_value is None:
        return "few"
    return group.difference.decision or "withheld"


def _describe_jobs(group: ComparedGroup) -> Iterator[str]:
    if group.repeated:
        yield (
            f"{group.name}: {count(group.repeated, 'job')} repeated a spec at the same seed; the newest with a value "
            "stands for all"
        )
    if group.environments:
        yield (
            f"{group.name}: jobs that repeated a spec did not run alike: {listed(group.environments)} differed"
        )
    if group.diverged:
        yield (
            f"{group.name}: {count(group.diverged, 'job')} diverged; they count with their best checkpoint on "
            "validation, else with what guessing scores"
        )
    missing = {
        "failed": group.failed,
        "cancelled": group.cancelled,
        "not finished": group.pending,
    }
    if any(missing.values()):
        words = listed([f"{number} {what}" for what, number in missing.items() if number])
        yield f"{group.name}: {words} of {count(group.jobs, 'job')} have no value; the mean is over the rest"


_SINGULAR = {
    "better": "is better than {}",
    "worse": "is worse than {}",
    "undecided": "can't be distinguished from {}",
    "withheld": "is tested against {} but not judged",
    "few": f"shares under {ENOUGH_SEEDS} seeds with {{}}, too few for a test",
    "unpaired": "has no job that pairs with one of {}",
}
_PLURAL = {
    **_SINGULAR,
    "better": "are better than {}",
    "worse": "are worse than {}",
    "withheld": "are tested against {} but not judged",
    "few": f"share under {ENOUGH_SEEDS} seeds with {{}}, too few for a test",
    "unpaired": "have no job that pairs with one of {}",
}
