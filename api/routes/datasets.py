"""Datasets: register, list, read, preview."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from sqlalchemy.orm import Session

from api.http import (
    AuditTrail,
    BadParameter,
    Conflict,
    Document,
    Invalid,
    NotFound,
    Once,
    Page,
    Reader,
    Unavailable,
    Writer,
    describe_body,
    get_current_user,
    parse,
)
from api.processes import CheckerUnavailable, NoPicture
from api.schemas import DatasetView, Listing, NewDataset
from api.services import Services, ServicesDep
from api.storage import STORE_RETRY_SECONDS
from runtime.data_roots import PathRefused, resolve_inside
from runtime.files import DamagedFile
from runtime.storage import StorageError, fetch_folder
from runtime.tracing import current_context
from store.catalog import datasets
from store.db import Dataset, User
from trainer.plugins import REMEDY, PluginError, find_plugin
from trainer.problems import did_you_mean
from trainer.spec import (
    MOST_CLASSES,
    BuiltIn,
    ClassPictures,
    DatasetInfo,
    DatasetSource,
    ImageFolder,
    Parquet,
    PluginData,
    Preview,
)

#: Of one picture: it is drawn by the processes that check everybody's specs.
MOST_SHEET_PIXELS = 8_000_000

router = APIRouter(prefix="/datasets", tags=["datasets"], dependencies=[Depends(get_current_user)])


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DatasetView,
    openapi_extra=describe_body(NewDataset),
    summary="Register a dataset",
)
def register_dataset(
    services: ServicesDep, user: Writer, trail: AuditTrail, document: Document, once: Once
) -> Response:
    """A worker decodes the dataset once, as job `job_id`; jobs can use it once its status is `ready`."""
    if earlier := once.earlier_answer():
        return earlier
    new = parse(NewDataset, document)
    _ensure_readable(new.source, services.settings.data_roots)
    if isinstance(new.source, PluginData):
        new = new.model_copy(update={"source": _find_package(new.source)})
    with services.sessions.begin() as session:

        def register() -> DatasetView:
            dataset, _ = datasets.register(
                session, user, new.name, new.source, current_context.get()
            )
            trail.note(session, "dataset.registered", new.name, kind=new.source.kind)
            return build_dataset_views(session, [dataset])[0]

        answer = once.answer(session, register)
    services.waker.wake()
    return answer


@router.get("", summary="List datasets, newest first")
def list_datasets(services: ServicesDep, page: Page) -> Listing[DatasetView]:
    with services.sessions.begin() as session:
        listing = datasets.list_datasets(session, cursor=page.cursor, limit=page.limit)
        items = build_dataset_views(session, listing.items)
        return Listing(items=items, next_cursor=listing.next_cursor)


@router.get("/{name}", summary="Read a dataset")
def read_dataset(services: ServicesDep, name: str) -> DatasetView:
    with services.sessions.begin() as session:
        return build_dataset_views(session, [find_dataset(session, name)])[0]


@router.post(
    "/{name}/preview",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
    openapi_extra=describe_body(Preview),
    summary="Preview augmented training images",
)
def preview_dataset(services: ServicesDep, user: Reader, name: str, document: Document) -> Response:
    """A PNG with one row per image: the original, then augmented versions. Nothing is stored."""
    spec, info = parse(Preview, document), read_info(services, name)
    return Response(draw_augmented(services, user, info, spec), media_type="image/png")


def draw_augmented(services: Services, user: User, info: DatasetInfo, spec: Preview) -> bytes:
    """The PNG of a preview."""
    pixels = spec.image_size or max(info.shape[1:])
    shown = f"{spec.images} rows × {1 + spec.draws} images"
    if why := _explain_too_large(shown, spec.images * (1 + spec.draws), pixels):
        raise Invalid.at("/image_size" if spec.image_size else "/images", why)
    with _translate_errors():
        folder = _fetch(services, info)
        return services.checker.preview(spec, info, folder, user.id)


@router.get(
    "/{name}/pictures",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
    summary="Show training images of each class",
)
def draw_classes(
    services: ServicesDep,
    user: Reader,
    name: str,
    images: Annotated[int, Query(ge=1, le=16, description="images of each class")] = 8,
    pixels: Annotated[int, Query(ge=8, le=256, description="size of an image's longer side")] = 64,
    names: Annotated[
        bool, Query(description="false: only the images, without names and gaps")
    ] = True,
) -> Response:
    """A PNG with one row per class (the first 200), with its name and its number of examples."""
    info = read_info(services, name)
    rows = min(len(info.classes), MOST_CLASSES)
    if why := _explain_too_large(f"{rows} classes × {images} images", rows * images, pixels):
        raise BadParameter("pixels", why)
    pictures = ClassPictures(images=images, pixels=pixels, names=names)
    with _translate_errors():
        folder = _fetch(services, info)
        picture = services.checker.draw_classes(pictures, info, folder, user.id)
    return Response(picture, media_type="image/png")


def read_info(services: Services, name: str) -> DatasetInfo:
    """What a finished registration stored; raises `NotFound`, or `Conflict` before that."""
    with services.sessions.begin() as session:
        dataset = find_dataset(session, name)
    if dataset.status == "failed":
        raise Conflict(f"dataset {name!r} could not be registered: {dataset.error}")
    if dataset.info is None:
        raise Conflict(f"dataset {name!r} is still being registered")
    return DatasetInfo.model_validate(dataset.info)


def _explain_too_large(shown: str, images: int, pixels: int) -> str | None:
    """Why that many images of that size are not drawn; None if they are."""
    if images * pixels**2 <= MOST_SHEET_PIXELS:
        return None
    fitting = int((MOST_SHEET_PIXELS / images) ** 0.5)
    return f"{shown} of {pixels} pixels exceed the size limit; use at most {fitting} pixels, or fewer images"


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except CheckerUnavailable as error:
        raise Unavailable(str(error), error.retry_after) from error
    except NoPicture as error:
        raise Conflict(str(error)) from error
    except StorageError as error:
        raise Unavailable(str(error), STORE_RETRY_SECONDS) from error


def _fetch(services: Services, info: DatasetInfo) -> Path:
    """Where decoded datasets are on this host, this one among them."""
    storage = services.settings.storage
    try:
        fetch_folder(storage, f"datasets/{info.digest}")
    except DamagedFile as error:
        raise Conflict(f"{error}: register the dataset again") from error
    return storage.root / "datasets"


def find_dataset(session: Session, name: str) -> Dataset:
    """Raises `NotFound`."""
    dataset = datasets.find(session, name)
    if dataset is None:
        meant = did_you_mean(name, datasets.names(session))
        raise NotFound(f"there is no dataset named {name!r}{meant}")
    return dataset


def _ensure_readable(source: DatasetSource, roots: Sequence[Path]) -> None:
    """Raises `Invalid` for what may not be read; that it is there only a worker can tell."""
    match source:
        case BuiltIn():
            detail = "builtin datasets already exist and cannot be registered"
            raise Invalid.at("/source/kind", detail, "use it by its name: GET /api/v1/datasets")
        case Parquet() | ImageFolder():
            try:
                resolve_inside(source.path, roots)
            except PathRefused as error:
                allowed = ", ".join(str(root) for root in roots) or "none is configured"
                remedy = f"an absolute path under a data root (NORMLAB_DATA_ROOTS): {allowed}"
                raise Invalid.at("/source/path", str(error), remedy) from None
        case _:
            pass


def _find_package(source: PluginData) -> PluginData:
    """With the package as it is installed here; raises `Invalid`."""
    try:
        installed = find_plugin("dataset", source.entry).installed
    except PluginError as error:
        raise Invalid.at("/source/name", str(error), REMEDY) from error
    if source.installed not in (None, installed):
        detail = f"it names {source.installed}, but {installed} is installed"
        raise Invalid.at("/source/installed", detail, "no installed, or this one")
    return source.model_copy(update={"installed": installed})


def build_dataset_views(session: Session, rows: Sequence[Dataset]) -> list[DatasetView]:
    jobs = datasets.registrations(session, rows)
    owners = datasets.owner_names(session, rows)
    return [
        DatasetView(
            name=row.name,
            owner=owners[row.owner_id] if row.owner_id else None,
            status=row.status,
            source=row.source,
            info=DatasetInfo.model_validate(row.info) if row.info else None,
            error=row.error,
            job_id=jobs[row.id].id if row.id in jobs else None,
            created_at=row.created_at,
        )
        for row in rows
    ]
