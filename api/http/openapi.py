"""Additions to FastAPI's OpenAPI document: request documents in two formats, examples, problem+json."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from api.http.error_responses import MEDIA_TYPE, ProblemDetails
from api.schemas import (
    AnnotationChange,
    Declaration,
    Extension,
    GcRequest,
    LimitsChange,
    NewDataset,
    NewMember,
    NewProject,
    NewReservation,
    NewToken,
    NewUser,
    NewWebhook,
    PriorityChange,
    ProjectChange,
    RunRequest,
    UserChange,
)
from studies.spec import StudySpec
from trainer.spec import JobSpec, Preview

DESCRIPTION = (
    "Which normalization or regularization is better, and is the difference real? Bodies are JSON or "
    "YAML, by their content type; every error is problem+json (RFC 9457) with JSON pointers to the "
    "fields; lists are paged by `cursor`."
)

_DOCUMENTS: tuple[type[BaseModel], ...] = (
    JobSpec,
    StudySpec,
    GcRequest,
    NewDataset,
    NewReservation,
    Preview,
    Extension,
    Declaration,
    AnnotationChange,
    PriorityChange,
    RunRequest,
    NewUser,
    NewWebhook,
    UserChange,
    NewProject,
    ProjectChange,
    NewMember,
    LimitsChange,
    NewToken,
)

_BASE = {
    "dataset": {"name": "digits"},
    "model": {"name": "cnn", "width": 32},
    "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
    "training": {"epochs": 15, "batch_size": 64},
    "early_stopping": {"kind": "patience", "patience": 5},
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "JobSpec": {
        "version": 1,
        "project": "digits",
        **_BASE,
        "norm": {"kind": "group", "groups": 8},
        "regularization": [{"kind": "dropout", "p": 0.2}],
        "seed": 0,
        "resources": {"device": "auto", "timeout": "1h"},
    },
    "StudySpec": {
        "version": 1,
        "project": "digits",
        "name": "norms-on-digits",
        "base": _BASE,
        "variants": {
            "none": {"norm": {"kind": "none"}},
            "batch": {"norm": {"kind": "batch"}},
            "group": {"norm": {"kind": "group", "groups": 8}},
        },
        "seeds": 8,
        "baseline": "none",
        "metric": "test_accuracy",
    },
    "NewDataset": {
        "name": "flowers",
        "source": {"kind": "image_folder", "path": "/data/flowers", "size": 32},
    },
    "Preview": {"augmentation": [{"kind": "rotate", "degrees": 15.0}], "images": 4, "draws": 6},
    "Extension": {"seeds": 16},
    "AnnotationChange": {"tags": ["paper", "figure:3"], "note": "the run of the appendix"},
    "PriorityChange": {"priority": "high"},
    "RunRequest": {"scale": "small", "dataset": "digits"},
    "Declaration": {"kind": "libraries", "why": "numpy alone was updated; torch is the same"},
    "NewUser": {"name": "emmy", "role": "member"},
    "NewProject": {"name": "thesis", "visibility": "private"},
    "ProjectChange": {"visibility": "private"},
    "NewMember": {"role": "member"},
    "LimitsChange": {"running": 4, "queued": 200, "timeout_seconds": "8h"},
    "UserChange": {"role": "viewer"},
    "GcRequest": {"older_than": "7d", "dry_run": True},
    "NewReservation": {
        "host": "alpha",
        "kind": "cuda",
        "number": 0,
        "lasts": "2h",
        "why": "a demonstration",
    },
    "NewToken": {"name": "laptop"},
    "NewWebhook": {"url": "https://hooks.example/normlab", "project": "digits"},
}


def describe_body(*models: type[BaseModel]) -> dict[str, Any]:
    """For `openapi_extra`: the endpoint reads one of these documents, as JSON or YAML."""
    names = [model.__name__ for model in models]
    references = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    content = {
        "schema": references[0] if len(references) == 1 else {"anyOf": references},
        "examples": {name: {"value": EXAMPLES[name]} for name in names},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": content, "application/yaml": content},
        }
    }


#: For every route: what an error looks like.
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "the error, with the fields concerned",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
    }
}


class _ClientSchema(GenerateJsonSchema):
    """Schemas that generators of clients can read: they drop an operation whose body has a part with a default
    that is an object. Such a default goes into the description."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        default = described.get("default")
        if not _holds_object(default):
            return described
        rest = {name: value for name, value in described.items() if name != "default"}
        text = f"default: {json.dumps(default, ensure_ascii=False)}"
        return {**rest, "description": "; ".join(filter(None, (rest.get("description"), text)))}


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_object, value)))


def describe(app: FastAPI) -> None:
    """Gives the app an OpenAPI document that has the documents' schemas too."""

    def openapi() -> dict[str, Any]:
        # Built at the first request for it: the JSON Schemas of all specs take about 0.4 s, which would delay every
        # start of the process.
        if app.openapi_schema is None:
            app.openapi_schema = _build_document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build_document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    models = [(model, "validation") for model in (*_DOCUMENTS, ProblemDetails)]
    _, definitions = models_json_schema(
        models,  # type: ignore[arg-type] # a list of literals to mypy's eyes only with an annotation
        ref_template="#/components/schemas/{model}",
        schema_generator=_ClientSchema,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update({name: one for name, one in definitions["$defs"].items() if name not in schemas})
    # What FastAPI adds by itself to routes with parameters is not what they answer.
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    return document
