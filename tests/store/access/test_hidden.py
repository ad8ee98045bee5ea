"""The filter of private projects stands in every kind of statement, on each table and alias that it concerns."""

import re

import pytest
from sqlalchemy import Select, delete, exists, func, insert, select, true, union_all, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased, joinedload

from store.access import hidden
from store.db import Epoch, Job, MirrorProblem, Project, Result, Study, User

_other = aliased(Job)
_newest = select(Job.id).where(Job.owner_id == User.id).limit(1).lateral("newest")
_either = union_all(select(Job.id), select(Study.id)).subquery("either")
_made = insert(Job).from_select(["name"], select(_other.name)).returning(Job).cte("made")

STATEMENTS = {
    "select(jobs)": (select(Job.id), ["jobs"]),
    "count": (select(func.count()).select_from(Result), ["results"]),
    "filtered count": (
        select(func.count().filter(Job.id > 1)).select_from(Job),
        ["jobs"],
    ),
    "only in the condition": (select(func.count()).where(Epoch.job_id == 1), ["jobs_1"]),
    "exists": (select(exists().where(Job.id == 1)), ["jobs"]),
    "alias": (select(_other.id), ["jobs_1"]),
    "joined alias": (select(Job.id).join(_other, _other.id == Job.reused_from), ["jobs", "jobs_1"]),
    "outer join": (
        select(User.id).outerjoin(_other, _other.owner_id == User.id),
        ["jobs_1"],
    ),
    "lateral": (select(User.id, _newest.c.id).join(_newest, true()), ["jobs"]),
    "union": (select(func.count()).select_from(_either), ["jobs", "studies"]),
    "cte": (select(select(Job.id).cte("found").c.id), ["jobs"]),
    "made": (select(aliased(Job, _made)), ["made", "jobs_1"]),
    "relationship": (select(Job).options(joinedload(Job.study)), ["jobs", "studies_1"]),
    "of either": (select(MirrorProblem.id), ["jobs_1", "studies_1", "mirror_problems"]),
    "update": (update(Job).values(step=1), ["jobs"]),
    "delete": (delete(Job), ["jobs"]),
}


@pytest.mark.parametrize("kind", STATEMENTS)
def test_each_kind_of_statement_is_filtered_on_each_of_its_tables(kind: str) -> None:
    statement, tables = STATEMENTS[kind]
    text = str(
        statement.options(*hidden._options(frozenset({7}))).compile(dialect=postgresql.dialect())
    )
    assert {*re.findall(r"(\w+)\.project_id != ALL", text)} == {*tables}


def test_before_a_login_all_private_projects_are_hidden() -> None:
    statement: Select[int] = select(Project.id).options(*hidden._options(None))
    text = str(statement.compile(dialect=postgresql.dialect()))
    assert re.search(
        r"id != ALL \(SELECT projects.*WHERE projects.*visibility = 'private'\)", text, re.DOTALL
    )
