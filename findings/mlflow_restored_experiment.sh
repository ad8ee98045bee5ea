#!/usr/bin/env bash
# mlflow 3.17.2: restoring an experiment also restores the runs that had been deleted one by one before the experiment was,
# so what somebody had thrown away long ago is back among the results; nothing in MLflow tells the two kinds of deletion apart.
# Seen:
#   before the experiment was deleted: 1 active run, 1 deleted run
#   after it was restored:             2 active runs, 0 deleted runs
# Exits with 1 if the deleted run stays deleted.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "mlflow==3.17.2"

cd "$folder"
MLFLOW_DISABLE_TELEMETRY=true "$folder/venv/bin/python" - <<'PYTHON'
import sys

from mlflow import MlflowClient
from mlflow.entities import ViewType

client = MlflowClient("sqlite:///mlflow.db")
experiment = client.create_experiment("norms")
kept, deleted = (client.create_run(experiment).info.run_id for _ in range(2))


def count(view: str) -> int:
    return len(client.search_runs([experiment], run_view_type=view))


client.delete_run(deleted)
before = count(ViewType.ACTIVE_ONLY), count(ViewType.DELETED_ONLY)
client.delete_experiment(experiment)
client.restore_experiment(experiment)
after = count(ViewType.ACTIVE_ONLY), count(ViewType.DELETED_ONLY)
print(f"before the experiment was deleted: {before[0]} active run, {before[1]} deleted run")
print(f"after it was restored:             {after[0]} active runs, {after[1]} deleted runs")
sys.exit((before, after) != ((1, 1), (2, 0)))
PYTHON
