"""A database with a long history, made in SQL: studies of digits that ended over the last days, and a queue.

The rows are those that the service would have written: specs from `studies.spec`, attempts with their
environment, facts, metrics, epochs and transitions. What varies is drawn by PostgreSQL from a fixed seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from studies.spec import StudySpec, expand, read_study
from trainer.spec import content_hash

#: Jobs of one study: 4 norms × 5 learning rates × 50 seeds.
STUDY_SIZE = 1000
#: A job ended every so many seconds.
PACE_SECONDS = 2.0
_NORMS: Mapping[str, Mapping[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "group": {"kind": "group", "groups": 8},
}
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
_STEPS_PER_EPOCH = 23
_FACTS: Mapping[str, Any] = {
    "weight_parameters": 29_472,
    "bias_parameters": 10,
    "decayed_norm_parameters": 0,
    "decayed_bias_parameters": 0,
    "examples_per_step": 64,
    "schedule": "5d41402abc4b2a76b9719d911017c592",
    "train_size": 1437,
    "val_size": 180,
    "test_size": 180,
    "test_is_cut": 1,
    "data": "3a449d94ba877b5cfc95a5b12da594a7",
    "split": "7d793037a0760186574b0282f2f435e7",
    "chance_accuracy": 0.1,
    "chance_loss": 2.302585092994046,
}
_ENVIRONMENT: Mapping[str, str] = {
    "code": "c0de",
    "python": "3.11.9",
    "torch": "2.14.1",
    "numpy": "2.4",
    "device": "cpu",
    "cpu": "a processor",
    "cpu_capability": "AVX2",
    "platform": "Linux x86_64",
    "threads": "1",
    "precision": "float32",
}
_NUMERICS: Mapping[str, Any] = {"device": "cpu", "threads": 1}


@dataclass(frozen=True, slots=True)
class History:
    """What was added; `studies`: ids, those of ended jobs first."""

    studies: Sequence[int]
    jobs: int
    epochs: int
    queued: int


def fill(
    engine: Engine,
    *,
    jobs: int = 100_000,
    epochs_per_job: int = 10,
    queued: int = 1000,
    owners: int = 20,
    projects: int = 10,
    mirrored: bool = True,
    analyze: bool = True,
) -> History:
    """Add ended jobs, the last of them a moment ago, and queued ones; may be called again for more.

    Studies of 1,000 jobs go around the owners `person1`, `person2`, … and the projects `history1`, …; the queued
    jobs are in one study of each owner. `mirrored`: as if MLflow had all that has ended, so that the mirror leaves
    it alone. `analyze`: PostgreSQL learns of the rows. Needs the built-in datasets, and an engine of the tables' owner.
    """
    values = {
        "jobs": jobs,
        "queued": queued,
        "owners": owners,
        "projects": projects,
        "epochs": epochs_per_job,
        "pace": PACE_SECONDS,
        "steps": _STEPS_PER_EPOCH,
        "facts": json.dumps(_FACTS),
        "environment": json.dumps(_ENVIRONMENT),
        "numerics": json.dumps(_NUMERICS),
    }
    with engine.begin() as connection:
        _execute(connection, ("SELECT setseed(0.25)", _CELLS, _MADE, _OWNERS, _PROJECTS), values)
        _insert_cells(connection)
        ended = _insert_studies(connection, "history", values, -(-jobs // STUDY_SIZE))
        _execute(connection, (_ENDED_JOBS, _ATTEMPTS, _TRANSITIONS), values)
        if mirrored:
            _execute(connection, (_MIRRORED_JOBS, _MIRRORED_STUDIES), values)
        epochs = _insert_epochs(connection, values)
        waiting = _insert_studies(connection, "queue", values, min(owners, queued))
        _execute(connection, (_QUEUED_JOBS, _SUBMITTED), values)
    if analyze:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE)"))
    return History([*ended, *waiting], jobs, epochs, queued)


def _execute(connection: Connection, statements: Sequence[str], values: Mapping[str, Any]) -> None:
    for statement in statements:
        connection.execute(text(statement), values)


def _insert_cells(connection: Connection) -> None:
    """The cells of a study in a temporary table: each is expanded and validated once, not once per job."""
    rows = [
        {
            "number": number,
            "name": cell.name,
            "variant": cell.variant,
            "point": json.dumps(cell.point),
            "seed": cell.seed,
            "spec": cell.spec.model_dump_json(),
            "hash": content_hash(cell.spec, _FACTS["data"]),
            # Variants and learning rates differ, so that a comparison finds something.
            "accuracy": 0.85
            + 0.02 * list(_NORMS).index(cell.variant)
            - 0.1 * cell.point["optimizer.lr"],
        }
        for number, cell in enumerate(expand(_study()))
    ]
    connection.execute(text(_CELL), rows)


def _insert_studies(
    connection: Connection, kind: str, values: Mapping[str, Any], count: int
) -> Sequence[int]:
    """Their ids; the temporary table `made` names them, and none else, from now on."""
    study = _study()
    fields = {
        "kind": kind,
        "count": count,
        "study": study.model_dump_json(),
        "seeds": json.dumps(list(study.seed_list)),
        "fixed": json.dumps(_NUMERICS) if kind == "history" else None,
    }
    _execute(connection, ("DELETE FROM made", _STUDIES, "ANALYZE made"), {**values, **fields})
    return connection.scalars(text("SELECT id FROM made ORDER BY number")).all()


def _insert_epochs(connection: Connection, values: Mapping[str, Any]) -> int:
    # To check 5,000,000 references takes longer than to write the rows, and the jobs are there.
    may = "SELECT has_parameter_privilege('session_replication_role', 'SET')"
    role = "SELECT set_config('session_replication_role', :role, true)"
    is_allowed = connection.scalar(text(may))
    if is_allowed:
        connection.execute(text(role), {"role": "replica"})
    count = connection.execute(text(_EPOCHS), values).rowcount
    if is_allowed:
        connection.execute(text(role), {"role": "origin"})
    return count


def _study() -> StudySpec:
    return read_study(
        {
            "name": "history",
            "base": {
                "dataset": {"name": "digits"},
                "model": {"name": "cnn", "width": 32},
                "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
                "training": {"epochs": 15, "batch_size": 64},
            },
            "variants": {name: {"norm": dict(norm)} for name, norm in _NORMS.items()},
            "baseline": "none",
            "matrix": {"optimizer.lr": list(_RATES)},
            "seeds": STUDY_SIZE // (len(_NORMS) * len(_RATES)),
        }
    )


_CELLS = """
CREATE TEMPORARY TABLE cells (
    number int, name text, variant text, point jsonb, seed bigint, spec jsonb, hash text, accuracy float8
) ON COMMIT DROP
"""
_MADE = """
CREATE TEMPORARY TABLE made (number int, id bigint, owner_id bigint, project_id bigint) ON COMMIT DROP
"""
_OWNERS = """
INSERT INTO users (name, role) SELECT 'person' || n, 'member' FROM generate_series(1, :owners) AS n
ON CONFLICT DO NOTHING
"""
_PROJECTS = """
INSERT INTO projects (name, owner_id)
SELECT 'history' || n, (SELECT id FROM users WHERE name = 'person1')
FROM generate_series(1, :projects) AS n
ON CONFLICT DO NOTHING
"""
_CELL = """
INSERT INTO cells VALUES (:number, :name, :variant, CAST(:point AS jsonb), :seed, CAST(:spec AS jsonb),
    :hash, :accuracy)
"""
_STUDIES = """
WITH added AS (
    INSERT INTO studies (project_id, owner_id, name, spec, numerics, planned_seeds)
    SELECT project.id, owner.id, :kind || ' ' || n,
        CAST(:study AS jsonb) || jsonb_build_object('name', :kind || ' ' || n, 'project', project.name),
        CAST(:fixed AS jsonb), CAST(:seeds AS jsonb)
    FROM generate_series(1, :count) AS n
    JOIN users AS owner ON owner.name = 'person' || (1 + (n - 1) % :owners)
    JOIN projects AS project ON project.name = 'history' || (1 + (n - 1) % :projects)
    ORDER BY n
    RETURNING id, owner_id, project_id
)
INSERT INTO made SELECT row_number() OVER (ORDER BY id) - 1, id, owner_id, project_id FROM added
"""
_ENDED_JOBS = """
WITH numbered AS (
    SELECT made.id, made.owner_id, made.project_id, project.name AS project, cell.name, cell.variant,
        cell.point, cell.seed, cell.spec, cell.hash, random() AS chance,
        accuracy + 0.02 * random() AS reached, 3 + 4 * random() AS seconds,
        row_number() OVER (ORDER BY made.number, cell.number) AS place
    FROM made CROSS JOIN cells AS cell JOIN projects AS project ON project.id = made.project_id
), outcomes AS (
    SELECT *, now() - (:jobs - place) * :pace * interval '1 second' AS at,
        CASE WHEN chance < 0.002 THEN 'error' WHEN chance < 0.01 THEN 'diverged'
            WHEN chance < 0.5 THEN 'early_stopped' ELSE 'completed' END AS reason
    FROM numbered WHERE place <= :jobs
)
INSERT INTO jobs (
    project_id, study_id, dataset_id, owner_id, name, variant, point, seed, spec, hash, status, reason,
    timeout_seconds, attempt, seconds_used, numerics, facts, metrics, non_finite, error, step, total_steps,
    created_at, queued_at, started_at, finished_at, changed_at
)
SELECT project_id, id, (SELECT id FROM datasets WHERE name = 'digits'), owner_id, name, variant, point,
    seed, spec || jsonb_build_object('project', project), hash,
    CASE reason WHEN 'error' THEN 'failed' ELSE 'succeeded' END, reason, 86400, 1, seconds,
    CAST(:numerics AS jsonb),
    CAST(:facts AS jsonb) || jsonb_build_object('total_steps', :steps * :epochs,
        'norm_parameters', CASE variant WHEN 'none' THEN 0 ELSE 192 END),
    CASE reason
        WHEN 'error' THEN '{}'
        WHEN 'diverged' THEN jsonb_build_object('epochs', :epochs, 'best_epoch', 1,
            'best_val_accuracy', 0.1, 'best_val_loss', 2.3, 'test_accuracy', 0.1, 'test_loss', NULL)
        ELSE jsonb_build_object('epochs', :epochs, 'best_epoch', greatest(1, :epochs - 2),
            'best_val_accuracy', reached, 'best_val_loss', 1 - reached,
            'test_accuracy', reached - 0.01 * random(), 'test_loss', 1.02 - reached)
    END,
    CASE reason WHEN 'diverged' THEN jsonb_build_object('test_loss', 'nan') ELSE '{}' END,
    CASE reason WHEN 'error' THEN 'RuntimeError: it broke' END, :steps * :epochs, :steps * :epochs,
    at - interval '1 hour', at - interval '1 hour', at - (seconds + 0.5) * interval '1 second', at, at
FROM outcomes ORDER BY place
"""
_ATTEMPTS = """
INSERT INTO attempts (job_id, number, host, process, started_at, ended_at, "end", counts, seconds,
    first_step, environment, error)
SELECT job.id, 1, 'bench', 1, started_at, finished_at,
    CASE status WHEN 'failed' THEN 'error' ELSE 'completed' END, status = 'failed', seconds_used, 0,
    CAST(:environment AS jsonb), error
FROM jobs AS job JOIN made ON made.id = job.study_id ORDER BY job.id
"""
_TRANSITIONS = """
INSERT INTO transitions (job_id, at, who, from_status, to_status, why)
SELECT job.id, step.at, step.who, step.before, step.after, step.why
FROM jobs AS job JOIN made ON made.id = job.study_id JOIN users AS owner ON owner.id = job.owner_id
CROSS JOIN LATERAL (VALUES
    (job.created_at, owner.name, NULL, 'queued', 'submitted'),
    (job.started_at, 'worker bench', 'queued', 'running', 'attempt 1 on cpu 0'),
    (job.finished_at, 'worker bench', 'running', job.status, job.reason)
) AS step (at, who, before, after, why)
ORDER BY job.id, step.at
"""
_MIRRORED_JOBS = """
INSERT INTO mirrored (job_id, run_id, experiment_id, epoch, seen_at, closed_at, state)
SELECT job.id, md5('job' || job.id), '1', :epochs, changed_at, finished_at,
    jsonb_build_object('key', md5('key' || job.id), 'sent', md5(''), 'files', 'sent', 'model', 'none',
        'status', CASE status WHEN 'failed' THEN 'FAILED' ELSE 'FINISHED' END)
FROM jobs AS job JOIN made ON made.id = job.study_id ORDER BY job.id
"""
_MIRRORED_STUDIES = """
INSERT INTO mirrored (study_id, run_id, experiment_id, seen_at, closed_at, state)
SELECT made.id, md5('study' || made.id), '1', max(job.changed_at), max(job.finished_at),
    jsonb_build_object('key', md5('of' || made.id), 'sent', md5(''), 'status', 'FINISHED')
FROM made JOIN jobs AS job ON job.study_id = made.id GROUP BY made.id
"""
_EPOCHS = """
INSERT INTO epochs (job_id, epoch, attempt, step, train_loss, train_cost, train_accuracy, val_loss,
    val_accuracy, learning_rate, seconds, recorded_at)
SELECT job.id, epoch, 1, :steps * epoch, loss, 1.01 * loss, 1 - 0.5 * loss, 1.1 * loss, 1 - 0.6 * loss,
    CAST(job.spec -> 'optimizer' ->> 'lr' AS float8), job.seconds_used / :epochs,
    started_at + (finished_at - started_at) * epoch / :epochs
FROM jobs AS job JOIN made ON made.id = job.study_id
CROSS JOIN LATERAL generate_series(1, :epochs) AS epoch
CROSS JOIN LATERAL (SELECT 0.1 + exp(-0.5 * epoch) + 0.02 * random() AS loss) AS curve
ORDER BY job.id, epoch
"""
_QUEUED_JOBS = """
INSERT INTO jobs (project_id, study_id, dataset_id, owner_id, name, variant, point, seed, spec, hash,
    shape, timeout_seconds)
SELECT made.project_id, made.id, (SELECT id FROM datasets WHERE name = 'digits'),
    made.owner_id, cell.name, variant, point, seed,
    cell.spec || jsonb_build_object('project', project.name), hash, shape_of(cell.spec), 86400
FROM made CROSS JOIN cells AS cell JOIN projects AS project ON project.id = made.project_id
WHERE made.number + (SELECT count(*) FROM made) * cell.number < :queued
ORDER BY cell.number, made.number
"""
_SUBMITTED = """
INSERT INTO transitions (job_id, at, who, from_status, to_status, why)
SELECT job.id, job.created_at, owner.name, NULL, 'queued', 'submitted'
FROM jobs AS job JOIN made ON made.id = job.study_id JOIN users AS owner ON owner.id = job.owner_id
"""
