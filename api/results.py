"""Results: one row per training job, whatever became of it. Knows no statistics."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.dependencies import Filter, Page, current_user
from api.schemas import JobStatus, Listing, ResultView
from api.services import House
from store import results

router = APIRouter(tags=["results"], dependencies=[Depends(current_user)])


@router.get("/results", summary="What came out, newest job first")
def list_results(
    house: House,
    page: Page,
    study: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    project: Filter = None,
    variant: Filter = None,
    status: JobStatus | None = None,
    owner: Filter = None,
) -> Listing[ResultView]:
    """Diverged, failed and unfinished jobs are rows, too: nothing is dropped."""
    with house.sessions.begin() as session:
        found = results.rows(
            session,
            study_id=study,
            project=project,
            variant=variant,
            status=status,
            owner=owner,
            cursor=page.cursor,
            limit=page.limit,
        )
    items = [ResultView.model_validate(row) for row in found.items]
    return Listing(items=items, next_cursor=found.next_cursor)
