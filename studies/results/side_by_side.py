"""Groups of jobs, or the arms of several studies, against one of them: paired wherever their jobs pair.

As in a study, intervals are Student's t at 95 %, and paired t-tests with Holm's correction judge, here over all groups
that have pairs. Differences at one seed share their data order and start: their mean is one value, so that n counts
seeds, and under 8 of them nothing is tested. Whatever is found is exploratory.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, compress
from typing import Any, NamedTuple

from store.db import FINAL_STATUSES, BadQuery
from store.results import ComparedJob, ResultGroup
from studies.comparison import Confound, Decision, Difference, find_differing
from studies.results.findings import (
    ComparedGroup,
    SideBySide,
    describe_findings,
    describe_unpaired,
    list_caveats,
    state_rule,
)
from studies.results.grouping import average_by_seed, describe_group
from studies.results.keys import find_free, group_by_key, list_declared, make_key_reader
from studies.results.pairing import Distinct, Pair, Pairing, drop_repeated, pair_jobs
from studies.results.sides import Side
from studies.stats import (
    count,
    has_direction,
    held_out_share,
    higher_is_better,
    inference,
    listed,
    score,
)

#: More are refused: each of them is read with its documents, and a comparison is made while its page is waited for.
MOST_JOBS = 2_000


def compare_sides(
    sides: Sequence[Side],
    metric: str,
    *,
    by: Sequence[str] = (),
    reference: str | None = None,
    outcomes: Sequence[str] = (),
) -> SideBySide:
    """`by`: the fields that the jobs are grouped by, none for arms of studies; `outcomes`: those of their results by
    which they were selected. Raises BadQuery if there is no such reference, or nothing beside it."""
    reference = choose_reference(sides, reference)
    read_key = make_key_reader(metric)
    distinct = [drop_repeated(side.jobs, metric, read_key) for side in sides]
    are_references = [side.reference_name == reference for side in sides]
    others = list(chain.from_iterable(part.jobs for part in compress(distinct, are_references)))
    # Most groups are compared in the same fields.
    group_others = cache(lambda free: group_by_key(others, free, read_key))
    groups, confounds = list[ComparedGroup](), list[Confound]()
    for side, part, is_reference in zip(sides, distinct, are_references, strict=True):
        group = _describe(side, part, metric, is_reference=is_reference)
        if not is_reference:
            free = _list_free(by, [*part.jobs, *others])
            pairing = pair_jobs(group_by_key(part.jobs, free, read_key), group_others(free))
            differing = _find_differing(side.name, pairing.pairs, free)
            group = group.model_copy(update=_compare(pairing, differing, metric, outcomes))
            confounds += differing
        groups.append(group)
    judged = _judge(groups, metric)
    is_resampled = any(_is_resampled(part.jobs) for part in distinct)
    return SideBySide(
        metric=metric,
        higher_is_better=higher_is_better(metric),
        confidence=inference.CONFIDENCE,
        reference=reference,
        references=tuple(dict.fromkeys(side.reference_name for side in sides)),
        comparisons=sum(group.pairs > 0 for group in judged),
        sentence=describe_findings(judged, reference, metric),
        rule=state_rule(by),
        notes=tuple(list_caveats(judged, metric, outcomes, is_resampled=is_resampled)),
        unpaired=tuple(describe_unpaired(judged, reference)),
        groups=tuple(judged),
        confounds=tuple(confounds),
    )


def choose_reference(sides: Sequence[Side], reference: str | None) -> str:
    """A name of the sides: the one that is asked for, else `none`, else the first. Raises BadQuery."""
    names = list(dict.fromkeys(side.reference_name for side in sides))
    if len(names) < 2:
        detail = f"two groups or more are compared, but the jobs are in {len(names) or 'none'}"
        raise BadQuery(detail, 0)
    if reference is None:
        return "none" if "none" in names else names[0]
    if reference not in names:
        detail = f"there is no {reference[:100]!r} to compare with; there are {listed(names, len(names))}"
        raise BadQuery(detail, 0)
    return reference


def _list_free(by: Sequence[str], jobs: Sequence[ComparedJob]) -> tuple[str, ...]:
    """In what two jobs may differ and still be a pair."""
    # A variant stands for what it changes in the base of its study.
    is_declared = not by or "variant" in by
    return (*find_free(by), *sorted(list_declared(jobs) if is_declared else ()))


def _find_differing(name: str, pairs: Sequence[Pair], free: Sequence[str]) -> list[Confound]:
    # A list is one leaf of a spec: what one of its options explains is found by the list's own name.
    causes = dict.fromkeys(cause for path in free for cause in (path, path.partition(".")[0]))
    return list(find_differing(name, pairs, tuple(causes), {}))


def _describe(side: Side, distinct: Distinct, metric: str, *, is_reference: bool) -> ComparedGroup:
    jobs = distinct.jobs
    values = [(job.seed, score(job, metric).value) for job in reversed(jobs)]
    scores = [(seed, value) for seed, value in values if value is not None]
    group = ResultGroup(
        by=dict(side.by),
        jobs=len(jobs),
        scores=[value for _, value in scores],
        seeds=[seed for seed, _ in scores],
        diverged=sum(job.reason == "diverged" for job in jobs),
        failed=sum(job.status == "failed" for job in jobs),
        cancelled=sum(job.status == "cancelled" for job in jobs),
        pending=sum(job.status not in FINAL_STATUSES for job in jobs),
    )
    described = describe_group(group, metric, overlap=_measure_overlap(jobs, metric).share)
    return ComparedGroup(
        **dict(described),
        name=side.name,
        is_reference=is_reference,
        repeated=distinct.repeated,
        environments=distinct.environments,
    )


def _compare(
    pairing: Pairing, differing: Iterable[Confound], metric: str, outcomes: Sequence[str]
) -> dict[str, Any]:
    """What a group has of its pairs, before it is judged."""
    pairs = pairing.pairs
    if not pairs:
        return {"unpaired": tuple(pairing.unpaired)}
    both = [
        (own.seed, score(own, metric).value, score(other, metric).value) for own, other in pairs
    ]
    differences = [
        (seed, mine - theirs)
        for seed, mine, theirs in both
        if mine is not None and theirs is not None
    ]
    gaps = average_by_seed(sorted(differences))
    overlap = _measure_overlap(list(chain.from_iterable(pairs)), metric)
    difference = Difference(
        **inference.summarize(gaps, overlap.share), effect_size=inference.effect_size(gaps)
    )
    incomplete = len(pairs) - len(differences)
    blockers = [
        *_list_blockers(metric, incomplete, len(pairs), differing, outcomes),
        *overlap.blockers,
    ]
    return {
        "pairs": len(pairs),
        "incomplete": incomplete,
        "difference": difference,
        # Too few seeds are said for themselves.
        "withheld": () if difference.p_value is None else tuple(blockers),
        "unpaired": tuple(pairing.unpaired),
    }


def _list_blockers(
    metric: str,
    incomplete: int,
    pairs: int,
    differing: Iterable[Confound],
    outcomes: Sequence[str],
) -> Iterator[str]:
    """Why a group isn't judged; nothing where it is."""
    if outcomes:
        yield f"its jobs were selected by {listed(outcomes)}"
    if not has_direction(metric):
        yield f"{metric} is neither an accuracy nor a loss, so that no value of it is the better one"
    if incomplete:
        yield f"{incomplete} of {count(pairs, 'pair')} {'lacks' if incomplete == 1 else 'lack'} a value"
    if unexplained := [confound.what for confound in differing if confound.is_open]:
        yield f"the jobs of its pairs differ in {listed(unexplained)}, too"


def _judge(groups: Sequence[ComparedGroup], metric: str) -> list[ComparedGroup]:
    """With p-values after Holm, and decisions where nothing stands in their way."""
    # What pairs follows from specs alone, so that the family was not chosen by its results. What can't be tested keeps
    # its place in it.
    family = [group.difference.p_value for group in groups if group.difference is not None]
    adjusted = iter(inference.holm([1.0 if p is None else p for p in family]))
    judged = list[ComparedGroup]()
    for group in groups:
        if group.difference is not None:
            p_adjusted = next(adjusted)
            if group.difference.p_value is not None:
                group = _decide(group, group.difference, p_adjusted, metric)
        judged.append(group)
    return judged


def _decide(
    group: ComparedGroup, difference: Difference, p_adjusted: float, metric: str
) -> ComparedGroup:
    decision: Decision | None = None
    if not group.withheld:
        is_higher = (difference.mean or 0.0) > 0
        towards: Decision = "better" if is_higher == higher_is_better(metric) else "worse"
        decision = towards if p_adjusted <= inference.LEVEL else "undecided"
    update = {"p_adjusted": p_adjusted, "decision": decision}
    return group.model_copy(update={"difference": difference.model_copy(update=update)})


class _Overlap(NamedTuple):
    """Held-out over training examples where splits follow the seed; and why nothing can be judged with it."""

    share: float
    blockers: tuple[str, ...] = ()


def _measure_overlap(jobs: Sequence[ComparedJob], metric: str) -> _Overlap:
    if not _is_resampled(jobs):
        return _Overlap(0.0)
    # 0 while a job has not recorded it.
    shares = {held_out_share([job], metric) for job in jobs} - {0.0}
    match sorted(shares):
        case []:
            return _Overlap(0.0, ("the overlap of its training sets isn't recorded",))
        case [share]:
            return _Overlap(share)
        case differing:
            blocker = "the overlap of its training sets isn't the same in all jobs"
            return _Overlap(differing[-1], (blocker,))


def _is_resampled(jobs: Iterable[ComparedJob]) -> bool:
    """Whether a study, or jobs without one, split a dataset differently at different seeds.

    Studies that have fixed it, each in its own way, do not.
    """
    splits: dict[Any, dict[int, set[Any]]] = {}
    for job in jobs:
        dataset = job.spec.get("dataset", {})
        by_seed = splits.setdefault((job.study_id, dataset.get("name")), {})
        by_seed.setdefault(job.seed, set()).add(dataset.get("split_seed"))
    return any(len(set(map(frozenset, by_seed.values()))) > 1 for by_seed in splits.values())
