"""Presets: the catalogue with what came out here, and one preset: its claims, its figure, and how to run it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import Reader
from api.routes.presets import build_run_views, find_named
from api.schemas import RunView
from api.services import Services, ServicesDep
from api.web.pictures import OwnFigure
from api.web.render import PageRoute, render
from api.web.studies import read_results
from store.catalog import datasets
from store.db import Study
from store.studies import studies, verdicts
from studies.claims import margin_of
from studies.presets import CHAPTERS, SOURCES, Preset, how_to_register, presets
from studies.spec import Claim, expand, expand_trials

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: Of a preset's runs, so many are listed.
MOST_RUNS = 10


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """A claim as it was fixed beforehand; `margin`: what it takes for no difference."""

    name: str
    says: str
    paper: str
    margin: str | None

    @classmethod
    def of(cls, claim: Claim) -> "ClaimLine":
        return cls(claim.name, claim.says, claim.paper, margin_of(claim))


@dataclass(frozen=True, slots=True)
class Entry:
    """A preset in the list; `sentence`: the first one of its text."""

    preset: Preset
    sentence: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A scale of a preset on one of its datasets, and what a run of it trains."""

    scale: str
    dataset: str
    takes: str
    jobs: int
    trials: int
    trial: str
    seeds: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A dataset that a run would need: `status` of its registration, None without any; `command` registers it, and
    `query` fills in the form that does."""

    name: str
    status: str | None
    command: str
    query: str


@dataclass(frozen=True, slots=True)
class _Runs:
    """The run that says most, and all as they are listed; `judged`: that run's study, if it has verdicts."""

    run: RunView | None = None
    listed: Sequence[RunView] = ()
    has_more: bool = False
    judged: Study | None = None


@router.get("/presets")
def list_presets(request: Request, services: ServicesDep, user: Reader) -> Response:
    with services.sessions.begin() as session:
        newest = verdicts.newest_runs(session)
        views = build_run_views(services, session, list(newest.values()))
    runs = dict(zip(newest, views, strict=True))
    return render(
        request,
        "presets.html",
        user,
        title="Presets",
        chapters=_list_chapters(),
        claims={name: _list_claims_of(name, runs.get(name)) for name in presets()},
        runs=runs,
        said={name: _said(run) for name, run in runs.items()},
    )


@router.get("/presets/{name}")
def show_preset(request: Request, services: ServicesDep, user: Reader, name: str) -> Response:
    preset, offers = find_named(name), _list_offers(name)
    with services.sessions.begin() as session:
        runs = _read_runs(services, session, name)
        missing = _find_missing(session, {one.dataset for one in offers})
    chosen = next(one for one in offers if one.scale == preset.usual_scale)
    return render(
        request,
        "preset.html",
        user,
        title=preset.title,
        preset=preset,
        claims=_list_claims_of(name, runs.run),
        offers=offers,
        chosen=chosen if chosen.dataset not in missing else None,
        missing=missing,
        may_run=user.role != "viewer",
        run=runs.run,
        runs=runs.listed,
        has_more=runs.has_more,
        said=_said(runs.run) if runs.run else {},
        figure=_find_figure(services, runs.judged),
    )


@cache
def _list_chapters() -> Sequence[tuple[str, Sequence[Entry]]]:
    return [(chapter, [_describe(name) for name in names]) for chapter, names in CHAPTERS.items()]


@cache
def _describe(name: str) -> Entry:
    preset = presets()[name]
    return Entry(preset, re.split(r"(?<=[.?])\s+(?=[A-Z])", preset.text)[0])


def _list_claims_of(name: str, run: RunView | None) -> Sequence[ClaimLine]:
    """As they were put to this run, or would be to a usual one: those of another scale or dataset may say
    something else under the same name."""
    preset = presets()[name]
    if run is None or run.dataset not in preset.datasets(run.scale):
        return _list_claims(name, preset.usual_scale, None)
    return _list_claims(name, run.scale, run.dataset)


@cache
def _list_claims(name: str, scale: str, dataset: str | None) -> Sequence[ClaimLine]:
    return [ClaimLine.of(claim) for claim in presets()[name].study_spec(scale, dataset).claims]


@cache
def _list_offers(name: str) -> Sequence[Offer]:
    preset = presets()[name]
    return [
        _make_offer(preset, scale, dataset, size.takes)
        for scale, size in preset.scales.items()
        for dataset in size.datasets
    ]


def _make_offer(preset: Preset, scale: str, dataset: str, takes: str) -> Offer:
    study = preset.study_spec(scale, dataset)
    trials = len(expand_trials(study))
    trial = "job that tries settings" if trials == 1 else "jobs that try settings"
    pretraining = "pretraining" if trials == 1 else "pretrainings"
    return Offer(
        scale=scale,
        dataset=dataset,
        takes=takes,
        jobs=len(expand(study)),
        trials=trials,
        trial=trial if study.pretrain is None else pretraining,
        seeds=len(study.seed_list),
    )


def _read_runs(services: Services, session: Session, name: str) -> _Runs:
    """The runs, and the one that says most."""
    listing = studies.list_studies(session, preset=name, archived=False, limit=MOST_RUNS)
    newest = verdicts.newest_runs(session).get(name)
    if newest is None:
        return _Runs()
    [run, *runs] = build_run_views(services, session, [newest, *listing.items])
    return _Runs(run, runs, listing.next_cursor is not None, newest if run.verdicts else None)


def _find_figure(services: Services, study: Study | None) -> OwnFigure | None:
    """As the study's page shows it."""
    if study is None:
        return None
    results = services.kept_results.read(study.id, lambda: read_results(services, study))
    figure: OwnFigure | None = results["figure"]
    return figure


def _said(run: RunView) -> Mapping[str, Any]:
    """By claim its verdict."""
    return {one.claim: one for one in run.verdicts}


def _find_missing(session: Session, names: set[str]) -> Mapping[str, Missing]:
    """Of these datasets those that no job may use now."""
    statuses = datasets.statuses(session, names)
    return {
        name: Missing(
            name,
            statuses.get(name),
            (how_to_register(name) or "").partition(" (")[0],
            urlencode({"name": name, **_without_placeholder(SOURCES.get(name, {}))}),
        )
        for name in sorted(names)
        if statuses.get(name) in (None, "failed")
    }


def _without_placeholder(source: Mapping[str, str]) -> Mapping[str, str]:
    return {key: value for key, value in source.items() if value != "FOLDER"}
