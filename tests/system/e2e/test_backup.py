"""`normlab backup` of the running stack, `normlab restore` into a home that has nothing, and `normlab delete`."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from normlab.home import Home
from normlab.stack.control import database_url
from normlab.stack.servers import make_servers
from tests.support.stack import Stack, make_installation
from tests.support.waiting import wait_for

STUDY: dict[str, Any] = {
    "project": "kept",
    "name": "kept",
    "base": {
        "dataset": {"name": "digits", "train_size": 200},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 1},
    },
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "seeds": 2,
}
#: Of a study whose jobs have ended, none of these changes any more.
TABLES = ("studies", "jobs", "attempts", "epochs", "checkpoints", "transitions", "results")


@pytest.fixture(scope="module")
def study(stack: Stack) -> int:
    submitted = stack.post("/studies", STUDY)
    stack.wait(f"/studies/{submitted['id']}")
    return int(submitted["id"])


@pytest.fixture(scope="module")
def backup(stack: Stack, study: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backup")
    stack.normlab("backup", str(folder))
    return folder


@pytest.fixture(scope="module")
def restored(backup: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose database runs alone."""
    installation = make_installation(tmp_path_factory.mktemp("restored") / "home")
    printed = installation.normlab("restore", str(backup))
    assert "Database mlflow: restored" in printed
    again = installation.run("restore", str(backup))
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    home = Home(installation.home)
    postgres, _ = make_servers(home, lambda: None)
    postgres.start()
    yield home
    postgres.stop()


def rows(url: str, tables: tuple[str, ...]) -> Mapping[str, list[Any]]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return {
            name: connection.execute(f"SELECT t::text FROM {name} t ORDER BY 1").fetchall()
            for name in tables
        }


def test_every_row_is_the_same(stack: Stack, restored: Home) -> None:
    before = rows(database_url(Home(stack.home)), TABLES)
    assert rows(database_url(restored), TABLES) == before
    assert all(before.values())


def test_the_runs_of_mlflow_are_there(restored: Home) -> None:
    url = database_url(restored).replace("/normlab?", "/mlflow?")
    assert all(rows(url, ("experiments", "runs", "metrics", "params")).values())


def test_every_file_that_a_row_names_is_the_same(stack: Stack, restored: Home) -> None:
    with psycopg.connect(database_url(restored).replace("+psycopg", "")) as connection:
        query = "SELECT path FROM files UNION SELECT path FROM checkpoints"
        paths = [path for (path,) in connection.execute(query)]
    assert paths
    for path in paths:
        ours, theirs = restored.storage / path, stack.home / "storage" / path
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_backup_is_closed_to_others(backup: Path) -> None:
    assert backup.stat().st_mode & 0o077 == 0


def test_a_deleted_study_leaves_no_row_no_file_and_no_run(
    stack: Stack, study: int, backup: Path
) -> None:
    # Once the backup has all of it.
    def run_ids() -> list[str] | None:
        items = [stack.get(f"/studies/{study}"), *stack.items(f"/studies/{study}/jobs")]
        urls = [item["mlflow_url"] for item in items]
        return (
            [url.rpartition("/runs/")[2].partition("?")[0] for url in urls] if all(urls) else None
        )

    jobs = [job["id"] for job in stack.items(f"/studies/{study}/jobs")]
    runs = wait_for(run_ids, "the study and its jobs have runs", 120)
    storage = stack.home / "storage"
    folders = [storage / f"studies/{study}", *(storage / f"jobs/{job}" for job in jobs)]
    assert all(folder.exists() for folder in folders[1:])

    assert "deleted" in stack.normlab("delete", f"s{study}", "--yes")

    assert stack.api.get(f"/studies/{study}").status_code == 404
    assert [stack.api.get(f"/jobs/{job}").status_code for job in jobs] == [404] * len(jobs)
    wait_for(lambda: not any(folder.exists() for folder in folders), "no file is left", 120)
    for run in runs:
        asked = partial(stack.mlflow.get, "/runs/get", params={"run_id": run})
        wait_for(lambda asked=asked: asked().status_code == 404, f"the run {run} is gone", 120)
        left = [path for path in (stack.home / "mlflow").glob(f"*/{run}/**/*") if path.is_file()]
        assert left == []
