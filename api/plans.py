"""Plans: what a job or study document would create, checked like a submission. Creates nothing."""

from typing import Literal

from fastapi import APIRouter, Depends

from api.checks import Plan, plan_job, plan_study
from api.dependencies import current_user
from api.documents import Document
from api.openapi import takes
from api.schemas import PlannedCell, PlanView
from api.services import House
from studies.expansion import expand
from studies.spec import StudySpec, is_study
from trainer.spec import JobSpec

router = APIRouter(tags=["plans"], dependencies=[Depends(current_user)])


@router.post(
    "/plans",
    openapi_extra=takes(StudySpec, JobSpec),
    summary="What a document would create; nothing is",
)
def make_plan(house: House, document: Document) -> PlanView:
    """A document that would be refused is refused here with the same answer."""
    if is_study(document):
        study, plan = plan_study(house, document)
        return _view("study", plan, then=len(expand(study)) if study.tune else 0)
    return _view("job", plan_job(house, document))


def _view(kind: Literal["job", "study"], plan: Plan, then: int = 0) -> PlanView:
    return PlanView(
        kind=kind,
        count=len(plan.new),
        then=then,
        cells=[
            PlannedCell(
                name=new.name, variant=new.variant, point=dict(new.point), seed=new.spec.seed
            )
            for new in plan.new
        ],
        problems=[],
        warnings=list(plan.warnings),
        parameters=dict(plan.parameters),
    )
