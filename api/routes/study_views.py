"""Studies as the routes show them."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.schemas import PretrainingView, SearchView, StudyView
from api.services import Services
from store.db import Study
from store.mlflow import links, mirror_problems
from store.studies import count_cells, count_jobs, count_trials, status_of
from studies.planning import Growth, describe_growth
from studies.spec import read_study
from studies.tuning import count_search_trials, read_searched


def build_study_views(
    services: Services, session: Session, found: Sequence[Study]
) -> list[StudyView]:
    """With the links of those that MLflow has, and what it lacks."""
    ids = [study.id for study in found]
    base = services.settings.mlflow_url
    urls = links.study_urls(session, base, ids) if base else {}
    tallied = count_jobs(session, ids)
    problems = mirror_problems.of_studies(session, ids)
    searches, growths = _read_searches(session, found), _read_growths(session, found)
    pretrainings = _read_pretrainings(session, found)
    return [
        StudyView.of(
            study,
            status_of(tallied[study.id].counts),
            tallied[study.id],
            urls.get(study.id),
            problems.get(study.id, ()),
            searches.get(study.id),
            pretrainings.get(study.id),
            growths.get(study.id),
        )
        for study in found
    ]


def _read_growths(session: Session, several: Sequence[Study]) -> dict[int, Growth]:
    """Of those that grow until they are decided."""
    growing = [study for study in several if study.spec.get("until") is not None]
    if not growing:
        return {}
    counts = count_cells(session, [study.id for study in growing])
    growths = {one.id: describe_growth(read_study(one.spec), counts[one.id]) for one in growing}
    return {study_id: growth for study_id, growth in growths.items() if growth is not None}


def _read_pretrainings(session: Session, found: Sequence[Study]) -> dict[int, PretrainingView]:
    """Of those that have some."""
    ids = [study.id for study in found if study.spec.get("pretrain") is not None]
    tallies = count_trials(session, ids) if ids else {}
    return {
        study_id: PretrainingView(jobs=one.made, succeeded=one.succeeded, failed=one.failed)
        for study_id, one in tallies.items()
    }


def _read_searches(session: Session, found: Sequence[Study]) -> dict[int, SearchView]:
    """Of those that have one."""
    searching = [study for study in found if study.spec.get("search") is not None]
    if not searching:
        return {}
    tallies = count_trials(session, [study.id for study in searching])
    return {
        study.id: SearchView(
            trials=count_search_trials(study),
            made=tallies[study.id].made,
            succeeded=tallies[study.id].succeeded,
            failed=tallies[study.id].failed,
            refused=sum(len(arm.refused) for arm in read_searched(study).values()),
        )
        for study in searching
        if study.id in tallies
    }
