"""The migrations, on a database of their own."""

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.orm import Session

from migrations import __main__ as migrations_main
from migrations.run import downgrade, head, is_current, make_config, upgrade
from normlab.stack.servers import Postgres
from store.accounts import authentication
from store.catalog import datasets
from store.db.engine import make_engine
from store.db.models import Table
from store.jobs import usage


@pytest.fixture
def empty_engine(postgres: Postgres) -> Iterator[Engine]:
    postgres.create_databases("migrations")
    engine = make_engine(postgres.url("migrations"))
    downgrade(address(engine))
    yield engine
    engine.dispose()


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_an_empty_database_gets_all_tables(empty_engine: Engine) -> None:
    with empty_engine.connect() as connection:
        assert not is_current(connection)

    upgrade(address(empty_engine))

    assert set(Table.metadata.tables) <= set(inspect(empty_engine).get_table_names())
    with empty_engine.connect() as connection:
        assert is_current(connection)


def test_the_newest_migration_is_known_by_its_file() -> None:
    assert head() == ScriptDirectory.from_config(make_config()).get_current_head()


def test_going_down_leaves_nothing_and_going_up_again_works(empty_engine: Engine) -> None:
    upgrade(address(empty_engine))
    downgrade(address(empty_engine))
    assert inspect(empty_engine).get_table_names() == ["alembic_version"]

    upgrade(address(empty_engine))
    upgrade(address(empty_engine))

    assert inspect(empty_engine).has_table("jobs")


def test_the_seeds_that_a_study_came_with_are_those_made_with_it(empty_engine: Engine) -> None:
    upgrade(address(empty_engine), "0002")
    with empty_engine.begin() as connection:
        connection.execute(text(_A_STUDY_EXTENDED))
    upgrade(address(empty_engine))
    with empty_engine.connect() as connection:
        assert connection.scalars(text("SELECT planned_seeds FROM studies")).all() == [[0, 1]]


#: Two seeds of two variants at once, a third seed an hour later.
_A_STUDY_EXTENDED = """
INSERT INTO users (name, role) VALUES ('ada', 'member');
INSERT INTO projects (name, owner_id) SELECT 'p', id FROM users;
INSERT INTO datasets (name, source, status) VALUES ('d', '{}', 'ready');
INSERT INTO studies (project_id, owner_id, name, spec) SELECT projects.id, owner_id, 's', '{}' FROM projects;
INSERT INTO jobs (project_id, study_id, dataset_id, owner_id, name, variant, seed, spec, hash, timeout_seconds, created_at)
SELECT studies.project_id, studies.id, datasets.id, studies.owner_id, 'j', variant, seed, '{}', '', 1,
  studies.created_at + CASE WHEN seed = 2 THEN interval '1 hour' ELSE interval '0' END
FROM studies, datasets, unnest(ARRAY['a', 'b']) AS variant, generate_series(0, 2) AS seed;
"""


def test_what_people_have_used_is_summed_up(empty_engine: Engine) -> None:
    upgrade(address(empty_engine), "0002")
    with empty_engine.begin() as connection:
        connection.execute(text(_A_STUDY_EXTENDED))
    upgrade(address(empty_engine), "0012")
    with empty_engine.begin() as connection:
        connection.execute(text(_ATTEMPTS))
    upgrade(address(empty_engine))
    with Session(empty_engine) as session:
        assert usage.drift(session) < 1e-6
        assert session.scalars(text("SELECT seconds FROM usage")).one() == pytest.approx(
            100 + 50, rel=1e-3
        )
        estimates = session.scalars(text("SELECT expected_seconds FROM attempts ORDER BY job_id"))
        assert estimates.all() == [300, 300, 40]


#: A job that has just succeeded, one that did a day ago, and one that runs.
_ATTEMPTS = """
UPDATE jobs SET status = 'succeeded', reason = 'completed', finished_at = now(), seconds_used = 40 WHERE seed < 2 AND variant = 'a';
UPDATE jobs SET status = 'running' WHERE seed = 2 AND variant = 'a';
INSERT INTO attempts (job_id, number, host, process, started_at, ended_at, "end")
SELECT id, 1, 'h', 1, now() - seed * interval '1 day' - interval '100 seconds', now() - seed * interval '1 day', 'completed'
FROM jobs WHERE status = 'succeeded' ORDER BY seed;
INSERT INTO attempts (job_id, number, host, process) SELECT id, 1, 'h', 1 FROM jobs WHERE status = 'running';
"""


def test_jobs_that_mlflow_has_under_other_metric_names_are_sent_again(empty_engine: Engine) -> None:
    upgrade(address(empty_engine), "0002")
    with empty_engine.begin() as connection:
        connection.execute(text(_A_STUDY_EXTENDED))
        connection.execute(text(_MIRRORED_BEFORE))
    upgrade(address(empty_engine))
    with empty_engine.connect() as connection:
        due = (
            "SELECT variant, seed FROM mirrored JOIN jobs ON jobs.id = job_id WHERE seen_at IS NULL"
        )
        assert connection.execute(text(f"{due} ORDER BY 1, 2")).all() == [("a", 0), ("b", 1)]
        assert connection.scalars(text("SELECT experiment_id FROM projects")).all() == ["7"]


#: All have ended and are mirrored; two of them have a metric whose name has changed.
_MIRRORED_BEFORE = """
UPDATE jobs SET status = 'succeeded', finished_at = now(), metrics = '{"best_epoch": 1, "test_loss": 1, "steps": 3}';
UPDATE jobs SET metrics = metrics || '{"stop_epoch_generalization_loss": 3}' WHERE variant = 'a' AND seed = 0;
UPDATE jobs SET non_finite = '{"test_weight_norm": "nan"}' WHERE variant = 'b' AND seed = 1;
INSERT INTO mirrored (job_id, run_id, experiment_id, seen_at) SELECT id, id::text, '7', now() FROM jobs;
"""


def test_what_a_running_job_was_asked_to_do_survives_the_new_names_in_both_directions(
    empty_engine: Engine,
) -> None:
    upgrade(address(empty_engine), "0002")
    with empty_engine.begin() as connection:
        connection.execute(text(_A_STUDY_EXTENDED))
    upgrade(address(empty_engine), "0011")
    with empty_engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET wish = 'pause', wished_by = 'ada' WHERE seed = 0"))
    for revision, names, name in (
        ("0012", ("requested_action", "requested_by"), "ck_jobs_requested_action"),
        ("0011", ("wish", "wished_by"), "ck_jobs_ck_jobs_wish"),
    ):
        change = upgrade if revision == "0012" else downgrade
        change(address(empty_engine), revision)
        with empty_engine.connect() as connection:
            rows = connection.execute(
                text(f"SELECT {', '.join(names)}, count(*) FROM jobs GROUP BY 1, 2 ORDER BY 3")
            )
            assert rows.all() == [("pause", "ada", 2), (None, None, 4)]
        checks = {check["name"] for check in inspect(empty_engine).get_check_constraints("jobs")}
        assert name in checks


def test_autogenerate_finds_no_difference(empty_engine: Engine) -> None:
    upgrade(address(empty_engine))

    command.check(make_config(address(empty_engine)))


def test_the_command_also_makes_the_datasets_and_the_admin_once(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORMLAB_DATABASE_URL", address(empty_engine))
    monkeypatch.setenv("NORMLAB_BOOTSTRAP_TOKEN", "nl_first" * 4)

    migrations_main.main(["upgrade"])
    migrations_main.main(["upgrade"])

    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        "made the first user", "the database has users already",
    ]  # fmt: skip
    with Session(empty_engine) as session:
        digits = datasets.find(session, "digits")
        assert digits is not None
        assert digits.status == "ready"
        admin = authentication.authenticate(session, "nl_first" * 4)
        assert admin is not None
        assert admin.user.role == "admin"


def test_the_command_resets_the_admin(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(address(empty_engine))
    monkeypatch.setenv("NORMLAB_DATABASE_URL", address(empty_engine))
    monkeypatch.delenv("NORMLAB_BOOTSTRAP_TOKEN", raising=False)
    with pytest.raises(SystemExit, match="NORMLAB_BOOTSTRAP_TOKEN an admin's token"):
        migrations_main.main(["reset-admin"])

    monkeypatch.setenv("NORMLAB_BOOTSTRAP_TOKEN", "nl_reset" * 4)
    migrations_main.main(["reset-admin"])

    assert "created the user admin\nadmin has a new token" in capsys.readouterr().out
    with Session(empty_engine) as session:
        assert authentication.authenticate(session, "nl_reset" * 4) is not None


def test_a_weak_secret_stays_unused_where_there_are_users(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORMLAB_DATABASE_URL", address(empty_engine))
    monkeypatch.setenv("NORMLAB_BOOTSTRAP_TOKEN", "nl_first" * 4)
    migrations_main.main(["upgrade"])
    monkeypatch.setenv("NORMLAB_BOOTSTRAP_TOKEN", "changeme")
    migrations_main.main(["upgrade"])
    assert "NORMLAB_BOOTSTRAP_TOKEN was not used" in capsys.readouterr().out
    with Session(empty_engine) as session:
        assert authentication.authenticate(session, "changeme") is None


@pytest.mark.parametrize("command", ["upgrade", "reset-admin"])
def test_a_weak_secret_is_refused_before_the_database_is_changed(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("NORMLAB_DATABASE_URL", address(empty_engine))
    monkeypatch.setenv("NORMLAB_BOOTSTRAP_TOKEN", "changeme")
    with pytest.raises(SystemExit, match="8 characters and needs at least 32"):
        migrations_main.main([command])
    assert not inspect(empty_engine).has_table("jobs")
