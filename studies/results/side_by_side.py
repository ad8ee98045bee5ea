"""Groups of jobs, or the arms of several studies, against one of them: paired wherever their jobs pair.

As in a study, intervals are Student's t at 95 %, and paired t-tests with Holm's correction judge, here over all groups
that have pairs. Differences at one seed share their data order and start: their mean is one value, so that n counts
seeds, and under 8 of them nothing is tested. Whatever is found is exploratory.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

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
from studies.results.grouping import describe_group
from studies.results.pairing import (
    Pair,
    Pairing,
    drop_repeated,
    find_free,
    list_declared,
    pair_jobs,
)
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

#: More are refused: each of them is read with its documents.
MOST_JOBS = 5_000


def compare_sides(
    sides: Sequence[Side], metric: str, *, by: Sequence[str] = (), reference: str | None = None
) -> SideBySide:
    """`by`: the fields that the jobs are grouped by, none for arms of studies. Raises BadQuery if there is no such
    reference, or nothing beside it."""
    family = choose_reference(sides, reference)
    kept = {side.name: drop_repeated(side.jobs, metric) for side in sides}
    others = [job for side in sides if side.family == family for job in kept[side.name]]
    groups, confounds = list[ComparedGroup](), list[Confound]()
    for side in sides:
        jobs = kept[side.name]
        group = _describe(side, jobs, metric, is_reference=side.family == family)
        if not group.is_reference:
            free = _list_free(by, [*jobs, *others])
            pairing = pair_jobs(jobs, others, free)
            differing = _find_differing(side.name, pairing.pairs, free)
            group = group.model_copy(update=_compare(pairing, differing, metric))
            confounds += differing
        groups.append(group)
    judged = _judge(groups, metric)
    is_resampled = any(_is_resampled(jobs) for jobs in kept.values())
    return SideBySide(
        metric=metric,
        higher_is_better=higher_is_better(metric),
        confidence=inference.CONFIDENCE,
        reference=family,
        references=tuple(dict.fromkeys(side.family for side in sides)),
        comparisons=sum(group.pairs > 0 for group in judged),
        sentence=describe_findings(judged, family, metric),
        rule=state_rule(by),
        notes=tuple(list_caveats(judged, metric, is_resampled=is_resampled)),
        unpaired=tuple(describe_unpaired(judged, family)),
        groups=tuple(judged),
        confounds=tuple(confounds),
    )


def choose_reference(sides: Sequence[Side], reference: str | None) -> str:
    """One of the sides' families: the one that is asked for, else `none`, else the first. Raises BadQuery."""
    families = list(dict.fromkeys(side.family for side in sides))
    if len(families) < 2:
        detail = f"two groups or more are compared, but the jobs are in {len(families) or 'none'}"
        raise BadQuery(detail, 0)
    if reference is None:
        return "none" if "none" in families else families[0]
    if reference not in families:
        detail = f"there is no {reference[:100]!r} to compare with; there are {listed(families, len(families))}"
        raise BadQuery(detail, 0)
    return reference


def _list_free(by: Sequence[str], jobs: Sequence[ComparedJob]) -> tuple[str, ...]:
    """In what two jobs may differ and still be a pair."""
    # A variant stands for what it changes in the base of its study.
    is_declared = not by or "variant" in by
    return (*find_free(by), *sorted(list_declared(jobs) if is_declared else ()))


def _find_differing(name: str, pairs: Sequence[Pair], free: Sequence[str]) -> list[Confound]:
    # A list is one leaf of a spec: what one of its options explains is found by the list's own name.
    causes = dict.fromkeys(one for path in free for one in (path, path.partition(".")[0]))
    return list(find_differing(name, pairs, tuple(causes), {}))


def _describe(
    side: Side, jobs: Sequence[ComparedJob], metric: str, *, is_reference: bool
) -> ComparedGroup:
    values = [score(job, metric).value for job in reversed(jobs)]
    scores = [value for value in values if value is not None]
    group = ResultGroup(
        by=dict(side.by),
        jobs=len(jobs),
        scores=scores,
        diverged=sum(job.reason == "diverged" for job in jobs),
        failed=sum(job.status == "failed" for job in jobs),
        cancelled=sum(job.status == "cancelled" for job in jobs),
        pending=sum(job.status not in FINAL_STATUSES for job in jobs),
    )
    described = dict(describe_group(group, metric))
    described["interval"] = inference.t_interval(scores, overlap=_measure_overlap(jobs, metric))
    repeated = len(side.jobs) - len(jobs)
    return ComparedGroup(**described, name=side.name, is_reference=is_reference, repeated=repeated)


def _compare(pairing: Pairing, differing: Iterable[Confound], metric: str) -> dict[str, Any]:
    """What a group has of its pairs, before it is judged."""
    pairs = pairing.pairs
    if not pairs:
        return {"unpaired": tuple(pairing.unpaired)}
    by_seed: dict[int, list[float]] = defaultdict(list)
    for own, other in pairs:
        mine, theirs = score(own, metric).value, score(other, metric).value
        if mine is not None and theirs is not None:
            by_seed[own.seed].append(mine - theirs)
    gaps = [statistics.fmean(by_seed[seed]) for seed in sorted(by_seed)]
    jobs = [own for own, _ in pairs]
    overlap = _measure_overlap(jobs, metric)
    difference = Difference(
        **inference.summarize(gaps, overlap), effect_size=inference.effect_size(gaps)
    )
    incomplete = len(pairs) - sum(map(len, by_seed.values()))
    is_unmeasured = _is_resampled(jobs) and overlap == 0
    blockers = _list_blockers(
        metric, incomplete, len(pairs), differing, is_unmeasured=is_unmeasured
    )
    return {
        "pairs": len(pairs),
        "incomplete": incomplete,
        "difference": difference,
        # Too few seeds are said for themselves.
        "withheld": () if difference.p_value is None else tuple(blockers),
        "unpaired": tuple(pairing.unpaired),
    }


def _list_blockers(
    metric: str, incomplete: int, pairs: int, differing: Iterable[Confound], *, is_unmeasured: bool
) -> Iterator[str]:
    """Why a group isn't judged; nothing where it is."""
    if not has_direction(metric):
        yield f"{metric} is neither an accuracy nor a loss, so that no value of it is the better one"
    if incomplete:
        yield f"{incomplete} of {count(pairs, 'pair')} {'lacks' if incomplete == 1 else 'lack'} a value"
    if unexplained := [one.what for one in differing if one.is_open]:
        yield f"the jobs of its pairs differ in {listed(unexplained)}, too"
    if is_unmeasured:
        yield "the overlap of its training sets isn't recorded"


def _judge(groups: Sequence[ComparedGroup], metric: str) -> list[ComparedGroup]:
    """With p-values after Holm, and decisions where nothing stands in their way."""
    # What pairs follows from specs alone, so that the family was not chosen by its results. What can't be tested keeps
    # its place in it.
    family = {
        group.name: group.difference.p_value for group in groups if group.difference is not None
    }
    adjusted = inference.holm([1.0 if p is None else p for p in family.values()])
    by_name = dict(zip(family, adjusted, strict=True))
    return [
        group
        if group.difference is None or group.difference.p_value is None
        else _decide(group, group.difference, by_name[group.name], metric)
        for group in groups
    ]


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


def _measure_overlap(jobs: Sequence[ComparedJob], metric: str) -> float:
    return held_out_share(jobs, metric) if _is_resampled(jobs) else 0.0


def _is_resampled(jobs: Sequence[ComparedJob]) -> bool:
    """Whether their data are cut in more than one way."""
    return len({job.spec.get("dataset", {}).get("split_seed") for job in jobs}) > 1
