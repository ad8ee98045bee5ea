"""`normlab export --everything`: what the database holds, in files that need no Normlab."""

import gzip
import hashlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors import safe_open
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from api.schemas import (
    AttemptView,
    CheckpointView,
    DatasetView,
    DiagnosisView,
    EpochView,
    FileView,
    JobView,
    LogLineView,
    ProjectView,
    StudyView,
    TransitionView,
)
from normlab.exporting.tables import TABLES, write_table
from runtime.files import digest_of, write_file
from store.db.models import Checkpoint, Epoch, Job
from tests.support.cli import run_here
from tests.support.documents import JOB, STUDY
from tests.support.trained_study import train_all

Sessions = sessionmaker[Session]
Export = Callable[..., Any]

WEIGHTS = {
    "conv.weight": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
    "steps": torch.tensor(7),
}


@pytest.fixture
def trained(member: TestClient, sessions: Sessions, storage: Path) -> list[int]:
    """The jobs of a study and one of none, all with weights; the third job has diverged."""
    for path, document in (("studies", STUDY), ("jobs", {**JOB, "seed": 5})):
        answer = member.post(f"/api/v1/{path}", json=document, params={"fresh": True})
        assert answer.status_code == 202, answer.text
    jobs = train_all(sessions, storage)
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    content = buffer.getvalue()
    with sessions.begin() as session:
        for row in session.scalars(select(Checkpoint)):
            row.digest, row.bytes = digest_of(content), len(content)
            write_file(storage / row.path, content, durable=False)
    return jobs


@pytest.fixture
def export(address: str, member: TestClient, tmp_path: Path) -> Export:
    """`normlab export --everything`, by a member, into `tmp_path / "all"`."""
    token = member.headers["Authorization"].removeprefix("Bearer ")

    def export(*options: str, folder: Path = tmp_path / "all") -> Any:
        here = {"NORMLAB_URL": address, "NORMLAB_TOKEN": token}
        return run_here("export", "--everything", str(folder), *options, **here)

    return export


def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())


def test_every_number_is_that_of_the_database(
    trained: list[int], export: Export, sessions: Sessions, tmp_path: Path
) -> None:
    done = export()
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "all"
    epochs = pandas.read_parquet(folder / "epochs.parquet").set_index(["job_id", "epoch"])
    jobs = pandas.read_parquet(folder / "jobs.parquet").set_index("id")
    with sessions.begin() as session:
        for row in session.scalars(select(Epoch)):
            exported = epochs.loc[(row.job_id, row.epoch)]
            for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate", "seconds"):
                assert same(exported[name], getattr(row, name)), name
            assert same(exported["extra.gap"], row.extra.get("gap"))
            assert json.loads(exported["non_finite"]) == row.non_finite
            assert exported["recorded_at"] == row.recorded_at
        for job in session.scalars(select(Job).where(Job.kind == "training")):
            for name, value in job.metrics.items():
                assert same(jobs.loc[job.id][f"metrics.{name}"], value), name
            assert json.loads(jobs.loc[job.id]["spec"]) == job.spec
    assert set(json.loads(jobs.loc[trained[2]]["non_finite"])) >= {"test_accuracy", "test_loss"}
    assert len(epochs) == 2 * len(trained)
    results = pandas.read_parquet(next((folder / "results").glob("s*.parquet")))
    assert set(results["job_id"]) | {trained[-1]} == set(trained)
    assert len(pandas.read_parquet(folder / "results" / "no-study.parquet")) == 1


def same(exported: Any, stored: float | None) -> bool:
    """To the last bit; what is missing is missing."""
    return math.isnan(exported) if stored is None else float(exported).hex() == stored.hex()


def test_weights_specs_and_files_are_usable_without_normlab(
    trained: list[int], export: Export, member: TestClient, storage: Path, tmp_path: Path
) -> None:
    assert export().returncode == 0
    folder = tmp_path / "all"
    for job in trained:
        place = folder / "jobs" / f"j{job}"
        with safe_open(place / "best.safetensors", "pt") as file:
            assert all(torch.equal(file.get_tensor(name), one) for name, one in WEIGHTS.items())
            metadata = file.metadata()
        shown = member.get(f"/api/v1/jobs/{job}").json()
        assert json.loads(metadata["normlab.spec"]) == shown["spec"]
        assert json.loads(metadata["normlab.metrics"]) == shown["metrics"]
        assert (place / "files" / "predictions.npy").read_bytes() == b"numbers"
    specs = sorted(folder.glob("*/*/spec.yaml"))
    assert len(specs) == len(trained) + 1
    for spec in specs:
        kind = "studies" if "studies" in spec.parts else "jobs"
        yaml = {"Content-Type": "application/yaml"}
        answer = member.post(f"/api/v1/{kind}", content=spec.read_bytes(), headers=yaml)
        assert answer.status_code == 202, (spec, answer.text)
    listed = manifest(folder)["files"]
    assert listed.keys() == {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".parts" not in path.parts and path.name != "manifest.json"
    }
    assert len({(folder / name).stat().st_mode for name in listed}) == 1
    for name, said in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == said["sha256"], name


def test_a_repeated_export_asks_only_for_what_is_new_or_damaged(
    trained: list[int], export: Export, member: TestClient, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    first = export()
    assert f"fetched {2 * len(trained)}\n".encode() in first.stdout, first.stderr
    (folder / "manifest.json").unlink()
    damaged, missing, *_ = sorted((folder / "jobs").glob("*/best.safetensors"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    missing.unlink()
    member.patch(f"/api/v1/jobs/{trained[0]}", json={"tags": ["paper"], "note": "see\nfigure 3"})
    again = export("--project", "digits")
    assert b"fetched 2\n" in again.stdout, again.stderr
    assert damaged.stat().st_size == len(whole)
    assert missing.exists()
    jobs = pandas.read_parquet(folder / "jobs.parquet").set_index("id")
    assert list(jobs.loc[trained[0]]["tags"]) == ["paper"]
    assert jobs.loc[trained[0]]["note"] == "see\nfigure 3"
    records = list((folder / ".parts").rglob("*.json.gz"))
    assert len(records) == len(trained)
    assert all(json.loads(gzip.decompress(one.read_bytes())) for one in records)


def test_what_cannot_be_exported_is_named_and_everything_else_is_there(
    trained: list[int], export: Export, sessions: Sessions, storage: Path, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        first, second, *_ = session.scalars(select(Checkpoint).order_by(Checkpoint.job_id))
        (storage / first.path).unlink()
        (storage / second.path).write_bytes(b"something else")
        # As if it had been deleted after the jobs were listed; the API has none of these two any more.
        names = [f"jobs/j{one.job_id}/best.safetensors" for one in (first, second)]
    done = export()
    assert done.returncode == 1
    assert b"2 parts could not be exported" in done.stderr
    problems = manifest(tmp_path / "all")["problems"]
    assert [problem.partition(": ")[0] for problem in problems] == names
    assert "is not in the storage" in problems[0]
    assert "its digest is another one" in problems[1]
    assert len(list((tmp_path / "all" / "jobs").glob("*/best.safetensors"))) == len(trained) - 2
    assert not list((tmp_path / "all").rglob("*.part"))


def test_a_study_alone_and_without_weights(
    trained: list[int], export: Export, member: TestClient, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    [study] = member.get("/api/v1/studies").json()["items"]
    done = export("--study", f"s{study['id']}", "--no-checkpoints")
    assert done.returncode == 0, done.stderr
    assert len(pandas.read_parquet(folder / "jobs.parquet")) == len(trained) - 1
    assert list(pandas.read_parquet(folder / "projects.parquet")["name"]) == ["digits"]
    assert not list(folder.rglob("*.safetensors"))


def test_a_folder_of_something_else_is_left_alone(
    export: Export, member: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    done = export(folder=tmp_path / "notes")
    assert done.returncode == 1
    assert b"is not empty and holds no earlier export: name a new folder" in done.stderr
    assert [one.name for one in (tmp_path / "notes").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("table", "view"),
    [
        ("projects", ProjectView),
        ("studies", StudyView),
        ("jobs", JobView),
        ("attempts", AttemptView),
        ("epochs", EpochView),
        ("diagnostics", DiagnosisView),
        ("transitions", TransitionView),
        ("logs", LogLineView),
        ("checkpoints", CheckpointView),
        ("files", FileView),
        ("datasets", DatasetView),
    ],
)
def test_a_table_has_a_column_for_every_field_that_the_service_sends(table: str, view: Any) -> None:
    """But for those about a job that waits, and one under its former name."""
    left_out = {"waiting", "obstacle", "wish"} if table == "jobs" else set()
    assert set(TABLES[table]) - {"job_id"} == set(view.model_fields) - left_out - {"job_id"}


def test_what_another_version_does_not_send_is_null(tmp_path: Path) -> None:
    rows = [{"job_id": 1, "epoch": 1, "extra": {"gap": 0.5}}, {"job_id": 1, "epoch": 2}]
    assert write_table("epochs", lambda: rows, tmp_path / "epochs.parquet") == 2
    table = pandas.read_parquet(tmp_path / "epochs.parquet")
    assert list(table["epoch"]) == [1, 2]
    assert table["extra.gap"][0] == 0.5
    assert table["extra.gap"].isna()[1]
    assert table[["val_loss", "recorded_at"]].isna().all(axis=None)
