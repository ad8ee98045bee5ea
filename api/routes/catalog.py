"""The catalog of options and the JSON Schemas, generated from the classes of the spec."""

import inspect
import re
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.http import get_current_user
from api.schemas import View
from api.services import ServicesDep
from store.hosts import host_views
from studies.spec import StudySpec
from trainer.plugins import list_offered
from trainer.spec import (
    AugmentationSpec,
    DatasetSource,
    DiagnosticsSpec,
    InitSpec,
    JobSpec,
    LocalResponseNorm,
    ModelSpec,
    NormSpec,
    OptimizerSpec,
    Part,
    RegularizerSpec,
    ScheduleSpec,
    StoppingSpec,
    TaskSpec,
    WeightsSpec,
    tabulate,
)

router = APIRouter(tags=["catalog"], dependencies=[Depends(get_current_user)])

#: Section of the catalogue → the union of its alternatives.
SECTIONS: dict[str, Any] = {
    "norms": NormSpec,
    "weights": WeightsSpec,
    "regularizers": RegularizerSpec,
    "augmentations": AugmentationSpec,
    "tasks": TaskSpec,
    "models": ModelSpec,
    "initializations": InitSpec,
    "optimizers": OptimizerSpec,
    "schedules": ScheduleSpec,
    "early_stopping": StoppingSpec,
    "diagnostics": DiagnosticsSpec,
    "datasets": DatasetSource,
}


class Choice(View):
    """One alternative and its options."""

    kind: Annotated[str, Field(description="the value of `kind` in a spec (for models, of `name`)")]
    description: str
    papers: list[str]
    pitfalls: Annotated[list[str], Field(description="what to know before choosing it")]
    layouts: Annotated[
        dict[str, dict[str, str | None]] | None,
        Field(
            description="norms only: per activation layout null where the norm is defined, else the reason "
            "why it is not; keyed by the options that this depends on"
        ),
    ] = None
    options: Annotated[dict[str, Any], Field(description="JSON Schema")]


@router.get("/catalog", summary="List the options of a spec: norms, regularizers, models, ...")
def read_catalog(services: ServicesDep) -> dict[str, list[Choice]]:
    """`plugins`: what the packages of the setting NORMLAB_PLUGINS offer, and which workers have them."""
    with services.sessions.begin() as session:
        workers = [one for one in host_views.workers_view(session) if one.alive]
    return {**build_catalog(), "plugins": list(_list_plugins(workers))}


def _list_plugins(workers: Sequence[host_views.WorkerView]) -> Iterator[Choice]:
    for package in list_offered():
        for plugin in package.plugins:
            lacking = [one.host for one in workers if str(plugin.installed) not in one.packages]
            pitfalls = [
                f"not on {', '.join(lacking)}: install this package there and restart the worker"
            ]
            yield _describe_plugin(
                f"plugin:{plugin.name}",
                f"{plugin.kind} of {plugin.installed}",
                pitfalls if lacking else [],
            )
        if package.problem is not None:
            yield _describe_plugin(package.package, package.problem, [])


def _describe_plugin(kind: str, description: str, pitfalls: list[str]) -> Choice:
    # What options a function takes is known to whoever imports it: this process imports none.
    return Choice(
        kind=kind,
        description=description,
        papers=[],
        pitfalls=pitfalls,
        options={"type": "object", "properties": {}},
    )


@router.get("/schemas/job", summary="Read the JSON Schema of the job spec")
def read_job_schema() -> dict[str, Any]:
    return _make_schema(JobSpec)


@router.get("/schemas/study", summary="Read the JSON Schema of the study spec")
def read_study_schema() -> dict[str, Any]:
    return _make_schema(StudySpec)


@cache
def build_catalog() -> dict[str, list[Choice]]:
    return {
        section: [_describe_choice(one, section) for one in _list_alternatives(union)]
        for section, union in SECTIONS.items()
    }


@cache
def _make_schema(model: type[BaseModel]) -> dict[str, Any]:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | model.model_json_schema()


def _list_alternatives(union: Any) -> Iterator[type[Part]]:
    """The classes of a union, however it is annotated; a class is a union of one."""
    origin = get_origin(union)
    if origin is Annotated:
        yield from _list_alternatives(get_args(union)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(union):
            yield from _list_alternatives(part)
    else:
        yield union


def _describe_choice(alternative: type[Part], section: str) -> Choice:
    description = " ".join((inspect.getdoc(alternative) or "").split())
    return Choice(
        kind=_find_tag(alternative),
        description=description,
        papers=re.findall(r"\(([^()]*\b(?:19|20)\d\d[^()]*)\)", description),
        pitfalls=list(alternative.pitfalls),
        options=alternative.model_json_schema(),
        layouts=_tabulate_layouts(alternative) if section == "norms" else None,
    )


def _tabulate_layouts(norm: type[Any]) -> dict[str, dict[str, str | None]]:
    variants = [{"across": "channels"}, {"across": "space"}] if norm is LocalResponseNorm else [{}]
    return {
        ", ".join(f"{name}: {value}" for name, value in options.items()) or "all options": {
            layout: gap.reason if gap else None
            for layout, gap in tabulate(norm.model_construct(kind=_find_tag(norm), **options))
        }
        for options in variants
    }


def _find_tag(alternative: type[Part]) -> str:
    """The value that chooses it, or the pattern of such values."""
    properties = alternative.model_json_schema()["properties"]
    tag = properties.get("kind") or properties["name"]
    return str(tag.get("const") or tag["pattern"].strip("^$"))
