"""What is missing in MLflow, and why."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.http import get_current_user
from api.schemas import MirrorView, NamedProblem
from api.services import ServicesDep
from store.mlflow import mirror_problems

router = APIRouter(prefix="/mirror", tags=["mirror"], dependencies=[Depends(get_current_user)])


@router.get("", summary="List what is missing in MLflow, and why")
def read_mirror(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="maximum number of problems")] = 100,
) -> MirrorView:
    """Oldest first; empty if MLflow has everything, or is about to."""
    with services.sessions.begin() as session:
        lacks = mirror_problems.list_problems(session, limit)
        return MirrorView(
            count=mirror_problems.count(session),
            problems=[NamedProblem.named(one.problem, one.name) for one in lacks],
        )
