"""The catalogue: what a spec may choose from, and of each choice a study that compares it with doing without."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.http import Reader
from api.routes.catalog import Choice, build_catalog, read_catalog
from api.services import ServicesDep
from api.web.render import PageRoute, render

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a section's choices stand in a spec; `reference`: the one that others are compared with, None: an empty list;
    `tag`: the key of the choice itself."""

    field: str
    reference: str | None
    tag: str = "kind"


#: Of the sections whose choices can be compared while all else stays the same.
PLACES: Mapping[str, Place] = {
    "norms": Place("norm", "none"),
    "weights": Place("weights", "plain"),
    "regularizers": Place("regularization", None),
    "augmentations": Place("augmentation", None),
    "models": Place("model", "cnn", "name"),
    "initializations": Place("init", "default"),
    "optimizers": Place("optimizer", "sgd"),
    "schedules": Place("schedule", "constant"),
    "early_stopping": Place("early_stopping", "none"),
}
#: What has no default, and is usual on a small network.
_GIVEN: Mapping[str, Mapping[str, Any]] = {
    "group": {"groups": 8},
    "weight_decay": {"value": 5.0e-4},
    "l1": {"value": 1.0e-5},
    "l2": {"value": 5.0e-4},
    "elastic_net": {"value": 1.0e-4},
    "dropout": {"p": 0.2},
    "spatial_dropout": {"p": 0.1},
    "drop_connect": {"p": 0.1},
    "drop_block": {"p": 0.1},
    "stochastic_depth": {"p": 0.1},
    "rotate": {"degrees": 15},
    "normal": {"std": 0.05},
    "step": {"milestones": [10]},
}
#: What needs another task than to tell classes apart.
_ELSEWHERE = ("autoencoder", "polynomial", "least_squares")
_BASE: Mapping[str, Any] = {
    "dataset": {"name": "digits"},
    "model": {"name": "cnn", "width": 32},
    "norm": {"kind": "batch"},
    "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
    "training": {"epochs": 15, "batch_size": 64},
}
#: What some are made for.
_BASES: Mapping[str, Mapping[str, Any]] = {
    "stochastic_depth": {"model": {"name": "resnet20"}},
}


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a choice, in words."""

    name: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A choice; `template`: of the page to submit from, None where there is nothing to compare it with."""

    choice: Choice
    options: Sequence[Option]
    template: str | None


@router.get("/catalog")
def show_catalog(request: Request, services: ServicesDep, user: Reader) -> Response:
    plugins = [Entry(choice, (), None) for choice in read_catalog(services)["plugins"]]
    sections = {**list_sections(), **({"plugins": plugins} if plugins else {})}
    return render(request, "catalog.html", user, title="Catalogue", sections=sections)


def find_choice(address: str) -> tuple[str, Choice] | None:
    """The section and the choice of `norms/group`; None where no template is of it."""
    section, _, kind = address.partition("/")
    entries = list_sections().get(section, ())
    choice = next((one.choice for one in entries if one.template and one.choice.kind == kind), None)
    return None if choice is None else (section, choice)


def write_template(section: str, choice: Choice) -> str:
    """A study document."""
    place, kind = PLACES[section], choice.kind
    base = {**_BASE, **_BASES.get(kind, {})}
    reference = base.get(place.field, {place.tag: place.reference})
    if section == "norms":
        reference = {"kind": "none"}
    base.pop(place.field, None)
    chosen = {place.tag: kind, **_GIVEN.get(kind, {})}
    name = place.reference or "without"
    variants = {
        name: {place.field: [] if place.reference is None else reference},
        kind: {place.field: [chosen] if place.reference is None else chosen},
    }
    lines = [
        f"# {choice.description}",
        *(f"# Careful: {one}" for one in choice.pitfalls),
        "version: 1",
        "project: digits",
        f"name: {kind}-or-{name}",
        "base:",
        *(f"  {field}: {_write(value)}" for field, value in base.items()),
        "variants:",
        *(f"  {variant}: {_write(value)}" for variant, value in variants.items()),
        "seeds: 8",
        f"baseline: {name}",
        "metric: test_accuracy",
    ]
    return "\n".join(lines) + "\n"


def _write(value: Any) -> str:
    """On one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {_write(one)}" for name, one in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_write, value))}]"
        case str():
            return value
        case _:
            return json.dumps(value)


@cache
def list_sections() -> Mapping[str, Sequence[Entry]]:
    return {
        section: [_make_entry(section, choice) for choice in choices]
        for section, choices in build_catalog().items()
        if section != "datasets"
    }


def _make_entry(section: str, choice: Choice) -> Entry:
    place, kind = PLACES.get(section), choice.kind
    can = (
        place is not None
        and kind != place.reference
        and kind not in _ELSEWHERE
        # A pattern stands for many.
        and kind.isidentifier()
    )
    return Entry(choice, tuple(_list_options(choice)), f"{section}/{kind}" if can else None)


def _list_options(choice: Choice) -> Iterator[Option]:
    for name, one in choice.options["properties"].items():
        if name in ("kind", "name"):
            continue
        words = [" | ".join(map(str, one["enum"]))] if "enum" in one else []
        default = json.dumps(one["default"]).strip('"') if "default" in one else "required"
        yield Option(name, default, ": ".join([*words, *filter(None, [one.get("description")])]))
