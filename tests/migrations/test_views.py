"""The views that people build on: what they show, who may read them, and that they are documented."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from migrations.run import downgrade, make_config, upgrade
from normlab.stack.servers import Postgres
from store.db.engine import make_engine
from store.db.models import Study, Table
from store.jobs import commands
from tests.support.factories import (
    acquire_job,
    make_cells,
    make_job,
    make_study,
    make_user,
    make_worker,
)
from trainer.events import EpochFinished, Started

Sessions = sessionmaker[Session]
VIEWS = ("v_jobs", "v_epochs", "v_variants")
DOCUMENT = Path(__file__).parents[2] / "docs" / "views.md"


def documented() -> dict[str, list[tuple[str, str]]]:
    """Column and type, in order, by view."""
    sections = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    rows = re.compile(r"^\| `(\w+)` \| ([\w ]+) \|", flags=re.MULTILINE)
    return {one.split("\n")[0]: rows.findall(one) for one in sections if one.startswith("v_")}


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_documented(engine: Engine, view: str) -> None:
    query = text(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_name = :view ORDER BY ordinal_position"
    )
    with engine.connect() as connection:
        columns = [tuple(row) for row in connection.execute(query, {"view": view})]
        comment = connection.scalar(text(f"SELECT obj_description('{view}'::regclass)"))
    assert columns == documented()[view]
    assert comment is not None
    assert comment.startswith("version 1: ")


@pytest.fixture
def study(sessions: Sessions) -> Study:
    """Two seeds of two variants: one diverges, one fails, one succeeds, one waits; and a job alone."""
    with sessions.begin() as session:
        make_worker(session, cpu=4)
        ada = make_user(session, "ada")
        study = make_study(session, ada, make_cells(("none", "batch"), (0, 1)))
        study.tags = ["paper"]
        first, second, third = (acquire_job(session) for _ in range(3))
        assert first is not None
        assert second is not None
        assert third is not None
        commands.record_start(session, first.job_id, 1, Started(0, 0, 9, 9, facts={"split": "x"}))
        for epoch, loss in ((1, 0.5), (2, math.nan)):
            event = EpochFinished(epoch, epoch * 10, {"val_loss": loss}, best=True, seconds=0.5)
            commands.record_epoch(session, first.job_id, 1, event)
        metrics = {"test_accuracy": 0.9, "test_loss": math.inf, "best_val_accuracy": 0.8}
        options = {"reason": "diverged", "metrics": metrics, "seconds_used": 2.0}
        commands.finish(session, first.job_id, 1, **options)
        metrics = {"test_accuracy": 0.7}
        commands.finish(
            session, second.job_id, 1, reason="completed", metrics=metrics, seconds_used=2.0
        )
        commands.fail(session, third.job_id, 1, reason="oom", error="gone", seconds_used=1.0)
        make_job(session, ada)
    return study


def rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def test_there_is_a_row_per_job_whatever_became_of_it(engine: Engine, study: Study) -> None:
    found = rows(engine, "SELECT * FROM v_jobs ORDER BY job_id")
    assert [one["status"] for one in found] == [
        "succeeded", "succeeded", "failed", "queued", "queued",
    ]  # fmt: skip
    first = found[0]
    assert (first["study_id"], first["person"], first["dataset"]) == (study.id, "ada", "digits")
    assert (first["norm"], first["model"], first["seed"]) == ("none", "mlp", 0)
    assert (first["test_accuracy"], first["test_loss"]) == (0.9, None)
    assert first["non_finite"] == {"test_loss": "inf"}
    assert (first["epochs"], first["tags"], first["archived"]) == (2, ["paper"], False)
    assert first["facts"] == {"split": "x"}
    assert (found[4]["study_id"], found[4]["tags"]) == (None, [])


def test_there_is_a_row_per_epoch(engine: Engine, study: Study) -> None:
    found = rows(engine, "SELECT * FROM v_epochs ORDER BY epoch")
    assert [(one["epoch"], one["val_loss"], one["variant"]) for one in found] == [
        (1, 0.5, "none"), (2, None, "none"),
    ]  # fmt: skip
    assert found[1]["non_finite"] == {"val_loss": "nan"}


def test_variants_count_what_their_means_leave_out(engine: Engine, study: Study) -> None:
    batch, none = rows(engine, "SELECT * FROM v_variants ORDER BY variant")
    assert (none["variant"], none["jobs"], none["succeeded"], none["diverged"]) == ("none", 2, 2, 1)
    assert (none["n_test_accuracy"], none["mean_test_accuracy"]) == (2, pytest.approx(0.8))
    assert none["std_test_accuracy"] == pytest.approx(0.1 * math.sqrt(2))
    assert (none["n_test_loss"], none["mean_test_loss"]) == (0, None)
    assert (batch["failed"], batch["pending"], batch["mean_test_accuracy"]) == (1, 1, None)


@pytest.mark.parametrize("view", VIEWS)
def test_the_reader_reads_the_views(engine: Engine, view: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET ROLE normlab_reader"))
        connection.execute(text(f"SELECT * FROM {view}")).all()
        connection.rollback()


@pytest.mark.parametrize("table", [*Table.metadata.tables, "alembic_version"])
def test_the_reader_reads_nothing_else(engine: Engine, table: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET ROLE normlab_reader"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text(f"SELECT * FROM {table}"))
        connection.rollback()


def test_the_reader_makes_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET ROLE normlab_reader"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("CREATE TABLE mine (id int)"))
        connection.rollback()


@pytest.fixture
def empty_engine(postgres: Postgres) -> Iterator[Engine]:
    postgres.create_databases("views")
    engine = make_engine(postgres.url("views"))
    downgrade(engine.url.render_as_string(hide_password=False))
    yield engine
    engine.dispose()


def revisions() -> list[str]:
    """From the one that made the views on, the oldest first."""
    script = ScriptDirectory.from_config(make_config())
    found = [one.revision for one in script.walk_revisions()][::-1]
    return found[found.index("0005") :]


def test_no_migration_breaks_the_views(empty_engine: Engine) -> None:
    """In a second database of one server, where the role exists already."""
    documents = documented()
    for revision in revisions():
        upgrade(empty_engine.url.render_as_string(hide_password=False), revision)
        for view in VIEWS:
            with empty_engine.connect() as connection:
                connection.execute(text("SET ROLE normlab_reader"))
                columns = list(connection.execute(text(f"SELECT * FROM {view}")).keys())
                connection.rollback()
            assert columns == [name for name, _ in documents[view]], (revision, view)


def test_who_may_make_no_roles_gets_the_views_without_one(empty_engine: Engine) -> None:
    script = ScriptDirectory.from_config(make_config()).get_revision("0005")
    grant = script.module.GRANT.replace("normlab_reader", "nobody_has_made_this")
    with empty_engine.connect() as connection:
        connection.execute(text("CREATE ROLE plain"))
        connection.execute(text("SET ROLE plain"))
        connection.execute(text(grant))
        made = connection.scalar(
            text("SELECT count(*) FROM pg_roles WHERE rolname = 'nobody_has_made_this'")
        )
        connection.rollback()
    assert made == 0
