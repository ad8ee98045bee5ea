"""Schemas of studies, with the formats of `api.schemas.jobs`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, get_args

from pydantic import Field, computed_field

from api.schemas.jobs import JobStatus, MirrorProblems, TraceId, View
from api.schemas.mirror import ProblemView
from runtime.tracing import trace_id
from store.db import MirrorProblem, Study
from store.studies import StudyStatus, Tally
from studies.planning import Growth, GrowthState

#: The most problems of a study in one answer.
MOST_MIRROR_PROBLEMS = 20


class Declared(View):
    """An acknowledged difference between variants: why it doesn't matter, and who says so."""

    why: str
    who: str
    at: datetime


class BillOutcomeView(View):
    """How wrong the bill was: of the study's trained jobs for which something was expected when they were submitted."""

    jobs: int
    expected_seconds: float
    seconds: float

    @computed_field(description="0.1: training took 10 % longer than expected")  # type: ignore[prop-decorator]
    @property
    def error(self) -> float | None:
        return self.seconds / self.expected_seconds - 1.0 if self.expected_seconds else None


class SearchView(View):
    """How far the search of a study is: its trials are jobs."""

    trials: Annotated[
        int,
        Field(
            description="of all arms at all search seeds; of an arm that turned out to have fewer settings, as many as it has; of one "
            "that leaves seeds out, as many as there may be until it has chosen"
        ),
    ]
    made: Annotated[int, Field(description="those that depend on results come in batches")]
    succeeded: int
    failed: Annotated[
        int,
        Field(description="by `oom` and `timeout` they count as the worst; others hold their arm"),
    ]
    refused: Annotated[
        int,
        Field(description="settings that can't be trained and were skipped: they are no trials"),
    ]


class PretrainingView(View):
    """How far the pretrainings of a study are: each is a job, and the arms of its seed follow when it has succeeded."""

    jobs: Annotated[int, Field(description="one for each seed")]
    succeeded: int
    failed: int


class GrowthView(View):
    """Where a study stands that grows until it is decided."""

    look: Annotated[int, Field(description="number of the look that its jobs are for, from 1 on")]
    looks: Annotated[list[int], Field(description="after how many seeds it is looked at")]
    seeds: Annotated[int, Field(description="that it has now")]
    most_seeds: int
    state: Annotated[
        GrowthState,
        Field(
            description="growing: jobs are to come; waiting: for a retry of failed or cancelled ones; stopped: more seeds "
            "would decide nothing; exhausted: it has all its seeds"
        ),
    ]
    sentence: str


class StudyView(View):
    """A study; its status is derived from its jobs."""

    id: int
    name: str
    project: str
    private: Annotated[bool, Field(description="only who is listed in the project may read it")]
    owner: str
    status: StudyStatus
    counts: Annotated[dict[JobStatus, int], Field(description="jobs by status")]
    reused: Annotated[
        int,
        Field(description="jobs that were not trained: equal ones that had succeeded answer them"),
    ]
    bill: Annotated[BillOutcomeView | None, Field(description="null while nothing can be compared")]
    spec: dict[str, Any]
    baseline: str
    metric: str
    warnings: list[str]
    tags: list[str]
    note: str
    archived: bool
    numerics: dict[str, Any] | None
    planned_seeds: Annotated[list[int], Field(description="the seeds it was submitted with")]
    declared: Annotated[
        dict[str, Declared], Field(description="acknowledged differences between variants, by kind")
    ]
    tuning: Annotated[
        dict[str, Any] | None,
        Field(description="per arm the settings tried and chosen, once all trials have ended"),
    ]
    search: Annotated[SearchView | None, Field(description="null: the study has no search")]
    pretraining: Annotated[
        PretrainingView | None, Field(description="null: its arms begin from no pretraining")
    ]
    growth: Annotated[GrowthView | None, Field(description="null: its number of seeds is fixed")]
    preset: Annotated[
        dict[str, str] | None, Field(description="the preset it ran: name, scale, dataset, digest")
    ]
    created_at: datetime
    mlflow_url: str | None
    mirror_problems: MirrorProblems
    mirror_problem_count: Annotated[
        int, Field(description="number of problems, including those not listed")
    ]
    trace_id: TraceId

    @classmethod
    def of(
        cls,
        study: Study,
        status: str,
        tally: Tally,
        url: str | None = None,
        problems: Sequence[MirrorProblem] = (),
        search: SearchView | None = None,
        pretraining: PretrainingView | None = None,
        growth: Growth | None = None,
    ) -> Self:
        return cls(
            id=study.id,
            name=study.name,
            project=study.project.name,
            private=study.project.visibility == "private",
            owner=study.owner.name,
            status=status,
            counts={one: tally.counts[one] for one in get_args(JobStatus)},
            reused=tally.reused,
            bill=tally.bill and BillOutcomeView.model_validate(tally.bill),
            spec=study.spec,
            baseline=study.spec["baseline"],
            metric=study.spec["metric"],
            warnings=study.warnings,
            tags=study.tags,
            note=study.note,
            archived=study.archived_at is not None,
            numerics=study.numerics,
            planned_seeds=study.planned_seeds,
            declared={kind: Declared(**one) for kind, one in study.declared.items()},
            tuning=study.tuning,
            search=search,
            pretraining=pretraining,
            growth=growth and GrowthView.model_validate(growth),
            preset=_short(study.preset),
            created_at=study.created_at,
            mlflow_url=url,
            mirror_problems=[
                ProblemView.model_validate(one) for one in problems[:MOST_MIRROR_PROBLEMS]
            ],
            mirror_problem_count=len(problems),
            trace_id=trace_id(study.trace_context),
        )


class AcceptedStudy(StudyView):
    """A study that was just submitted or extended, with notes."""

    same_as: Annotated[
        list[int],
        Field(description="earlier studies of the project that differ only in name or seeds"),
    ]
    notes: list[str]


def _short(preset: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The preset without its text, which is in the report."""
    if preset is None:
        return None
    return {name: preset[name] for name in ("name", "scale", "dataset", "digest")}
