"""Jobs that are compared side by side: what is read of them, and that no more than allowed are."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db import BadQuery
from store.query import compile_query
from store.results import parse_keys, result_rows
from store.results.compared import read_compared
from tests.support.factories import make_cells, make_job, make_study, make_user, set_job

SPEC = {
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "tune": {"settings": {"optimizer.lr": [0.1, 0.2]}, "seeds": [9]},
}


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    with sessions.begin() as session:
        yield session


def test_a_job_has_its_documents_and_what_its_study_says_of_its_variant(session: Session) -> None:
    study = make_study(session, cells=make_cells(("batch",), (0, 1)), spec=SPEC)
    alone = make_job(session, make_user(session), norm={"kind": "layer"})
    set_job(session, alone.id, metrics={"best_val_loss": 0.5}, facts={"split": "a"})
    first, _, last = read_compared(session, result_rows.matching(), parse_keys("norm.kind"), 10)
    assert (first.study_id, first.variant, first.seed) == (study.id, "batch", 0)
    assert first.declared == {"norm": {"kind": "batch"}}
    assert first.tuned == {"optimizer.lr": [0.1, 0.2]}
    assert (last.job_id, last.study_id, last.declared, last.tuned) == (alone.id, None, None, None)
    assert (last.by, last.metrics) == ({"norm.kind": "layer"}, {"best_val_loss": 0.5})
    assert (last.facts, last.environment) == ({"split": "a"}, None)
    assert last.spec["norm"]["kind"] == "layer"


def test_only_so_many_jobs_of_the_condition_are_read(session: Session) -> None:
    study = make_study(session, cells=make_cells(seeds=range(3)))
    other = make_study(session)
    condition = result_rows.matching(study_ids=[study.id]) & compile_query("seed < 2")
    rows = read_compared(session, condition, (), 4)
    assert {row.study_id for row in rows} == {study.id}
    assert len(rows) == 4
    with pytest.raises(BadQuery, match="more than 3 jobs"):
        read_compared(session, condition, (), 3)
    both = result_rows.matching(study_ids=[study.id, other.id])
    assert len(read_compared(session, both, (), 10)) == 10
