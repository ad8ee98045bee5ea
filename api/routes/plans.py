"""Plans: what a job or study document would create, checked like a submission."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Depends

from api.admission import CheckedArm, Plan, plan_job, plan_study
from api.bills import expect_wall_seconds, make_bill, price
from api.http import Fresh, Overridden, Reader, describe_body, get_current_user, take_place
from api.schemas import (
    BillView,
    EstimateView,
    OutlookView,
    PlannedArm,
    PlannedCell,
    PlanView,
    TakenDefault,
)
from api.services import Services, ServicesDep
from store.db import User
from store.results import history, pace
from store.studies import studies
from studies.planning import ArmWork, estimate, outlook
from studies.spec import PRETRAINING, StudySpec, count_trials, expand, is_study
from trainer.spec import JobSpec

router = APIRouter(tags=["plans"], dependencies=[Depends(get_current_user)])


@router.post(
    "/plans",
    openapi_extra=describe_body(StudySpec, JobSpec),
    summary="Plan a job or study without creating it",
    dependencies=[Depends(take_place)],
)
def make_plan(
    services: ServicesDep, user: Reader, document: Overridden, fresh: Fresh = False
) -> PlanView:
    """An invalid document is rejected with the same error as a submission."""
    if not is_study(document):
        plan = plan_job(services, user, document)
        bill = _bill(services, user, plan, fresh=fresh)
        taken = outlook.spec_defaults(_list_specs(plan.arms))
        return _build_view(services, "job", plan, taken, bill)
    study, plan = plan_study(services, user, document)
    defaults = [
        *outlook.study_defaults(study, document),
        *outlook.spec_defaults(_list_specs(plan.arms)),
    ]
    with services.sessions.begin() as session:
        spec = study.model_dump(mode="json")
        same = [one.id for one in studies.same_as(session, spec, study.project)]
    then = len(expand(study)) if study.tuned_paths or study.pretrain is not None else 0
    # With the seeds of its last look.
    growing = _count_growing(study, then or len(plan.new))
    later = count_trials(study) - len(plan.new) if study.search else 0
    # The arms of the plan have all jobs that follow pretrainings.
    unseen = 0 if study.pretrain is not None else later + then
    return _build_view(
        services,
        "study",
        plan,
        defaults,
        _bill(services, user, plan, unseen, growing, fresh=fresh),
        whole=_whole(plan, unseen + growing),
        pretrainings=len(plan.new) if study.pretrain is not None else 0,
        later_trials=later,
        then=then,
        variants=len(study.variants),
        points=_count_points(study, plan),
        seeds=len(study.seed_list),
        most_seeds=study.most_seeds,
        verdict=OutlookView.model_validate(outlook.verdict_outlook(study)),
        same_as=same,
    )


def _build_view(
    services: Services,
    kind: Literal["job", "study"],
    plan: Plan,
    defaults: Any,
    bill: BillView,
    *,
    whole: float = 1.0,
    pretrainings: int = 0,
    later_trials: int = 0,
    then: int = 0,
    variants: int = 1,
    points: int = 1,
    seeds: int = 1,
    most_seeds: int = 1,
    verdict: OutlookView | None = None,
    same_as: Sequence[int] = (),
) -> PlanView:
    steps = sum(arm.jobs * arm.report.steps for arm in plan.arms)
    return PlanView(
        kind=kind,
        count=len(plan.new),
        pretrainings=pretrainings,
        later_trials=later_trials,
        then=then,
        variants=variants,
        points=points,
        seeds=seeds,
        most_seeds=most_seeds,
        steps=round(steps * whole),
        estimate=_estimate(services, plan.arms, whole),
        bill=bill,
        verdict=verdict,
        defaults=[TakenDefault.model_validate(one) for one in defaults],
        same_as=list(same_as),
        arms=[_view_arm(arm) for arm in plan.arms],
        cells=[
            PlannedCell(
                name=new.name, variant=new.variant, point=dict(new.point), seed=new.spec.seed
            )
            for new in plan.new
        ],
        problems=[],
        warnings=list(plan.warnings),
        parameters={arm.name: arm.report.parameters for arm in plan.arms},
    )


def _whole(plan: Plan, later: int) -> float:
    # The jobs behind the first trials are taken to be as long as those are on average.
    return (len(plan.new) + later) / len(plan.new)


def _count_growing(study: StudySpec, cells: int) -> int:
    """How many more jobs than these a study may come to have by itself."""
    return cells // len(study.seed_list) * (study.most_seeds - len(study.seed_list))


def _bill(
    services: Services,
    user: User,
    plan: Plan,
    later: int = 0,
    growing: int = 0,
    *,
    fresh: bool,
) -> BillView:
    """`later`: jobs behind those of the plan; `growing`: those that there may be besides."""
    whole = _whole(plan, later + growing)
    with services.sessions.begin() as session:
        priced = price(session, plan, reuse_for=None if fresh else user, whole=whole)
        bill = make_bill(priced)
        share = _whole(plan, later) / whole
        return BillView(
            **asdict(bill),
            least_device_seconds=share * bill.device_seconds
            if growing and bill.device_seconds is not None
            else None,
            usual_error=history.usual_error(session),
            wall_seconds=expect_wall_seconds(session, priced, user),
        )


def _view_arm(arm: CheckedArm) -> PlannedArm:
    examples = arm.report.examples
    return PlannedArm(
        name=arm.name,
        variant=arm.variant,
        point=dict(arm.point),
        jobs=arm.jobs,
        parameters=arm.report.parameters,
        examples=examples.model_dump() if examples else {},
        steps=arm.report.steps,
    )


def _list_specs(arms: Sequence[CheckedArm]) -> list[tuple[str, JobSpec]]:
    return [(arm.name, arm.spec) for arm in arms]


def _count_points(study: StudySpec, plan: Plan) -> int:
    """Of the matrix; what tuning sets is no part of it."""
    points = [
        {path: value for path, value in arm.point.items() if path not in study.tuned_paths}
        for arm in plan.arms
        if study.pretrain is None or arm.variant != PRETRAINING
    ]
    return len({repr(sorted(point.items())) for point in points})


def _estimate(services: Services, arms: Sequence[CheckedArm], whole: float) -> EstimateView | None:
    """Of `whole` times the work of the arms."""
    works = [
        ArmWork(arm.spec, arm.report.parameters, arm.report.steps, round(arm.jobs * whole))
        for arm in arms
    ]
    networks = {(arm.spec.dataset.name, arm.spec.model.name) for arm in arms}
    with services.sessions.begin() as session:
        result = estimate(works, pace.finished_jobs(session, networks), pace.slots(session))
    if result is None:
        return None
    return EstimateView(
        seconds=result.wall,
        work_seconds=result.work,
        slots=result.slots,
        basis=result.basis,
        jobs=result.jobs,
    )
