"""Where a study stands that grows until it is decided, told by its seeds and its jobs' statuses alone; what it can't be,
and can't be given by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from studies.spec import StudyError, StudySpec
from studies.stats import count, has_direction, listed
from trainer.spec import Problem

#: `stopped`: more seeds would change nothing, because all comparisons are decided; `exhausted`: it has all its seeds.
GrowthState: TypeAlias = Literal["growing", "waiting", "stopped", "exhausted"]


@dataclass(frozen=True, slots=True)
class Growth:
    """`look`: the number of the one that its jobs are for, from 1 on; `seeds`: that it has now."""

    look: int
    looks: tuple[int, ...]
    seeds: int
    most_seeds: int
    state: GrowthState
    sentence: str


def describe_growth(study: StudySpec, counts: Mapping[str, int]) -> Growth | None:
    """`counts`: of its jobs by status, trials aside; None of a study that doesn't grow by itself."""
    if study.until is None:
        return None
    seeds, looks = len(study.seed_list), study.looks
    look = next((number for number, size in enumerate(looks, 1) if size >= seeds), len(looks))
    state = _find_state(seeds < looks[-1], counts)
    return Growth(look, looks, seeds, study.most_seeds, state, _tell(state, look, study, counts))


def _find_state(has_more: bool, counts: Mapping[str, int]) -> GrowthState:
    # Without any jobs, those of its trials come first.
    if not any(counts.values()) or any(
        counts[status] for status in ("queued", "running", "paused")
    ):
        return "growing"
    if counts["failed"] or counts["cancelled"]:
        return "waiting"
    # The transaction that closed the last job would have made the next look's.
    return "stopped" if has_more else "exhausted"


def _tell(state: GrowthState, look: int, study: StudySpec, counts: Mapping[str, int]) -> str:
    """`look 2 of 5, undecided so far: 16 jobs to come until 16 of at most 40 seeds`."""
    seeds = len(study.seed_list)
    place = f"look {look} of {len(study.looks)}"
    of_seeds = f"{seeds} of at most {count(study.most_seeds, 'seed')}"
    match state:
        case "growing":
            if not any(counts.values()):
                return f"{place}: its trials come first; then {of_seeds}"
            so_far = ", undecided so far" if look > 1 else ""
            coming = counts["queued"] + counts["running"] + counts["paused"]
            return f"{place}{so_far}: {count(coming, 'job')} to come until {of_seeds}"
        case "waiting":
            missing = counts["failed"] + counts["cancelled"]
            return f"{place} waits: {count(missing, 'job')} failed or cancelled, to be retried; {of_seeds}"
        case "stopped":
            return f"stopped at {place}, with {of_seeds}: more of them would decide nothing"
        case "exhausted":
            return f"at its last look, with {of_seeds}"


def refuse_undecidable(study: StudySpec) -> None:
    """A new study that could only go on to its last look; raises `StudyError`."""
    if study.until is not None and not study.claims and not has_direction(study.metric):
        detail = f"{study.metric} is neither an accuracy nor a loss, so that no comparison of it is ever decided"
        remedy = "another metric, or a fixed number of seeds"
        raise StudyError((Problem(pointer="/metric", detail=detail, remedy=remedy),))


def refuse_between_looks(study: StudySpec) -> None:
    """Of a study that was given more seeds: with so many it would lie between two looks, where nothing may be decided;
    raises `StudyError`."""
    count = len(study.seed_list)
    if study.until is None or count in study.looks or count > study.looks[-1]:
        return
    following = next(look for look in study.looks if look > count)
    looks = listed([str(look) for look in study.looks])
    detail = f"would make {count} seeds, but the study grows by itself to its looks at {looks}"
    remedy = f"wait for it, or add seeds up to a look, such as {following}"
    raise StudyError((Problem(pointer="/seeds", detail=detail, remedy=remedy),))
