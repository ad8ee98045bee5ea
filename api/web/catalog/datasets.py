"""Datasets: the list with a form to register one, and one dataset: what is in it, what was left out, how it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import BadParameter, Reader, may_change
from api.routes.datasets import build_dataset_views, draw_augmented, find_dataset, read_info
from api.routes.jobs import find_job
from api.schemas import DatasetView
from api.services import ServicesDep
from api.web import pictures
from api.web.pictures import Augmentation
from api.web.render import PageRoute, options, render
from store.catalog import datasets
from store.results import result_rows
from trainer.problems import did_you_mean
from trainer.spec import DatasetInfo, RecordEntry

router = APIRouter(include_in_schema=False, route_class=PageRoute)
#: What isn't a page, and says in JSON what is wrong.
_files = APIRouter(include_in_schema=False)

PAGE = 50
#: Of one dataset, so many classes are listed.
MOST_LISTED = 200
#: What the form to register a dataset takes from the page's address, so that it can be linked to filled in.
_FILLED_IN = (
    "name", "kind", "repository", "revision", "path", "configuration", "image", "label", "layout", "size", "background",
    "unreadable", "unlabelled", "generator", "noise", "seed",
)  # fmt: skip
#: What a batch is augmented with until something is chosen.
FIRST = ("rotate", "shift", "contrast")
#: Options that need no mention.
_USUAL = (None, "", "auto", "white", "refuse")

Chosen = Annotated[list[str], Query(max_length=32, default_factory=list)]
BatchSeed = Annotated[int, Query(ge=0, lt=2**31)]


@dataclass(frozen=True, slots=True)
class Class:
    """`count`: of its training examples, where they were counted."""

    name: str
    count: int | None


@router.get("/datasets")
def list_datasets(
    request: Request,
    services: ServicesDep,
    user: Reader,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    with services.sessions.begin() as session:
        listing = datasets.list_datasets(session, cursor=cursor or None, limit=PAGE)
        views = build_dataset_views(session, listing.items)
    return render(
        request,
        "datasets.html",
        user,
        title="Datasets",
        datasets=views,
        job_ids=[one.job_id for one in views if one.status == "registering" and one.job_id],
        is_first=cursor is None,
        more=options({"cursor": listing.next_cursor}),
        may_register=user.role != "viewer",
        given=_read_given(request),
        roots=[str(root) for root in services.settings.data_roots],
    )


@router.get("/datasets/{name}")
def show_dataset(
    request: Request,
    services: ServicesDep,
    user: Reader,
    name: str,
    augmentation: Chosen,
    seed: BatchSeed | None = None,
) -> Response:
    chosen = _find_augmentations(FIRST if seed is None else augmentation)
    with services.sessions.begin() as session:
        [view] = build_dataset_views(session, [find_dataset(session, name)])
        context = _read_registration(session, view)
    info = view.info
    return render(
        request,
        "dataset.html",
        user,
        title=name,
        dataset=view,
        info=info,
        classes=_list_classes(info) if info else [],
        record=_sort_record(info) if info else [],
        may_change=view.owner is not None and may_change(user, view.owner),
        may_use=user.role != "viewer",
        again=_describe_again(view),
        usual=_USUAL,
        query=quote(f"dataset.name = '{name}'", safe=""),
        **_show_pictures(info, chosen, seed or 0),
        **context,
    )


@_files.get("/datasets/{name}/augmented")
def show_augmented(
    services: ServicesDep,
    user: Reader,
    name: str,
    augmentation: Chosen,
    seed: BatchSeed = 0,
) -> Response:
    """A PNG of a batch that is augmented with the defaults of the catalog."""
    chosen, info = _find_augmentations(augmentation), read_info(services, name)
    picture = draw_augmented(services, user, info, pictures.make_preview(info, chosen, seed))
    return Response(picture, media_type="image/png")


router.include_router(_files)


def _find_augmentations(kinds: Sequence[str]) -> Sequence[Augmentation]:
    """Raises `BadParameter`."""
    known = pictures.augmentations()
    for kind in kinds:
        if kind not in known:
            meant = did_you_mean(kind, known)
            detail = f"must be among {', '.join(known)}, but got {kind!r}{meant}"
            raise BadParameter("augmentation", detail)
    return [known[kind] for kind in dict.fromkeys(kinds)]


def _read_given(request: Request) -> Mapping[str, str]:
    """What the form is filled in with."""
    asked = request.query_params
    return {name: asked.get(name, "")[:4096] for name in _FILLED_IN}


def _read_registration(session: Session, view: DatasetView) -> Mapping[str, Any]:
    """The job that decodes it, or has failed to, and what it said last."""
    if view.status == "ready" or view.job_id is None:
        return {"job": None, "said": ""}
    lines = result_rows.last_logs(session, view.job_id, 1)
    return {"job": find_job(session, view.job_id), "said": lines[0].text if lines else ""}


def _describe_again(view: DatasetView) -> str:
    """The query that fills in the form with what was tried."""
    tried = {key: str(one) for key, one in view.source.items() if one not in _USUAL}
    return urlencode({"name": view.name, **tried})


def _list_classes(info: DatasetInfo) -> Sequence[Class]:
    counts = info.class_counts or (None,) * len(info.classes)
    return [
        Class(name, count) for name, count in zip(info.classes[:MOST_LISTED], counts, strict=False)
    ]


def _sort_record(info: DatasetInfo) -> Sequence[RecordEntry]:
    """What was left out first."""
    order = ("skipped", "mapped", "taken")
    return sorted(info.record, key=lambda one: order.index(one.action))


def _show_pictures(
    info: DatasetInfo | None, chosen: Sequence[Augmentation], seed: int
) -> dict[str, Any]:
    if info is None or info.content != "images":
        return {"classes_picture": None, "batch": None}
    wanted = [("augmentation", one.kind) for one in chosen]
    return {
        "classes_picture": pictures.picture_of_classes(info),
        "class_images": pictures.CLASS_IMAGES,
        "class_pixels": pictures.CLASS_PIXELS,
        "batch": pictures.picture_of_batch(info, chosen),
        "augmentations": pictures.augmentations().values(),
        "chosen": [one.kind for one in chosen],
        "wanted": urlencode([*wanted, ("seed", seed)]),
        "another": urlencode([*wanted, ("seed", (seed + 1) % 2**31)]),
        "seed": seed,
    }
