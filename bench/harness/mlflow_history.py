"""MLflow's own database with a long history, for comparison: runs with the params and metrics that the mirror sends."""

import json

from sqlalchemy import create_engine, text

from trainer.spec.job import JobSpec
from worker.mirror.runs import JOB_SLASH_FORMS, job_params

_NORMS = ("none", "batch", "layer", "group")


def fill_mlflow(url: str, runs: int) -> str:
    """The experiment's id; `url` names an empty database, in which MLflow makes its tables."""
    from mlflow import MlflowClient

    experiment = MlflowClient(url).create_experiment("history")
    spec = JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {"name": "cnn", "width": 32},
            "norm": {"kind": "none"},
        }
    )
    params = job_params(spec.model_dump(mode="json"))
    values = {
        "runs": runs,
        "experiment": int(experiment),
        "norms": list(_NORMS),
        "params": json.dumps({key: value for key, value in params.items() if key != "norm.kind"}),
        "metrics": list(JOB_SLASH_FORMS),
    }
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in (_RUNS, _NORM, _PARAMS, _METRICS, _TAGS):
            connection.execute(text(statement), values)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    engine.dispose()
    return experiment


_RUNS = """
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
    end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
SELECT md5('run' || n), 'run ' || n, 'UNKNOWN', '', '', 'bench', 'FINISHED', 1000 * n, 1000 * n + 900, '',
    'active', 'mlflow-artifacts:/' || n, :experiment
FROM generate_series(1, :runs) AS n
"""
_NORM = """
INSERT INTO params (run_uuid, key, value)
SELECT md5('run' || n), 'norm.kind', (CAST(:norms AS text[]))[1 + n % cardinality(CAST(:norms AS text[]))]
FROM generate_series(1, :runs) AS n
"""
_PARAMS = """
INSERT INTO params (run_uuid, key, value)
SELECT md5('run' || n), param.key, param.value
FROM generate_series(1, :runs) AS n CROSS JOIN json_each_text(CAST(:params AS json)) AS param
"""
_METRICS = """
INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan)
SELECT md5('run' || n), key, 0.9 + 0.1 * random(), 1000 * n, 10, false
FROM generate_series(1, :runs) AS n CROSS JOIN unnest(CAST(:metrics AS text[])) AS key
"""
_TAGS = """
INSERT INTO tags (run_uuid, key, value)
SELECT md5('run' || n), key, CAST(n AS text)
FROM generate_series(1, :runs) AS n
CROSS JOIN unnest(ARRAY['normlab.job', 'normlab.study', 'mlflow.runName', 'mlflow.user']) AS key
"""
