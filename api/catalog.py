"""What a spec may choose from, read off the spec's own classes. Nothing here is kept by hand twice."""

import inspect
import re
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.dependencies import current_user
from api.schemas import View
from studies.spec import StudySpec
from trainer.spec import (
    AugmentationSpec,
    DatasetSource,
    InitSpec,
    JobSpec,
    ModelSpec,
    NormSpec,
    OptimizerSpec,
    RegularizerSpec,
    ScheduleSpec,
    StoppingSpec,
    WeightsSpec,
)

router = APIRouter(tags=["catalog"], dependencies=[Depends(current_user)])

#: Section of the catalogue → the union of its alternatives.
SECTIONS: dict[str, Any] = {
    "norms": NormSpec,
    "weights": WeightsSpec,
    "regularizers": RegularizerSpec,
    "augmentations": AugmentationSpec,
    "models": ModelSpec,
    "initializations": InitSpec,
    "optimizers": OptimizerSpec,
    "schedules": ScheduleSpec,
    "early_stopping": StoppingSpec,
    "datasets": DatasetSource,
}


class Choice(View):
    """One alternative and its options."""

    kind: Annotated[str, Field(description="its `kind` (a model's `name`) in a spec")]
    description: str
    papers: list[str]
    options: Annotated[dict[str, Any], Field(description="JSON Schema")]


@router.get("/catalog", summary="What a spec may choose from")
def read_catalog() -> dict[str, list[Choice]]:
    return _catalog()


@router.get("/schemas/job", summary="JSON Schema of the job spec")
def read_job_schema() -> dict[str, Any]:
    return _schema(JobSpec)


@router.get("/schemas/study", summary="JSON Schema of the study spec")
def read_study_schema() -> dict[str, Any]:
    return _schema(StudySpec)


@cache
def _catalog() -> dict[str, list[Choice]]:
    return {
        section: [_choice(one) for one in _alternatives(union)]
        for section, union in SECTIONS.items()
    }


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | model.model_json_schema()


def _alternatives(union: Any) -> Iterator[type[BaseModel]]:
    """The classes of a union, however it is annotated; a class is a union of one."""
    origin = get_origin(union)
    if origin is Annotated:
        yield from _alternatives(get_args(union)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(union):
            yield from _alternatives(part)
    else:
        yield union


def _choice(alternative: type[BaseModel]) -> Choice:
    description = " ".join((inspect.getdoc(alternative) or "").split())
    return Choice(
        kind=_tag(alternative),
        description=description,
        papers=re.findall(r"\(([^()]*\b(?:19|20)\d\d[^()]*)\)", description),
        options=alternative.model_json_schema(),
    )


def _tag(alternative: type[BaseModel]) -> str:
    """The value that chooses it, or the pattern of such values."""
    properties = alternative.model_json_schema()["properties"]
    tag = properties.get("kind") or properties["name"]
    return str(tag.get("const") or tag["pattern"].strip("^$"))
