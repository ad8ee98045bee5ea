#!/usr/bin/env bash
# mlflow 3.17.2: of two values of a metric with the same step and the same timestamp, the run shows the larger one, in whichever
# order they were logged, and NaN is compared as 0: it replaces -1 and doesn't replace 1. So a loss that is logged anew in
# the same millisecond (a correction, an epoch that was repeated) keeps its worse value, and a NaN hides or shows by the sign of its rival.
# Seen:
#   3.0 then 1.0: 3.0
#   1.0 then 3.0: 3.0
#   1.0 then nan: 1.0
#   -1.0 then nan: nan
#   nan then -1.0: nan
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "mlflow==3.17.2"

cd "$folder"
MLFLOW_DISABLE_TELEMETRY=true "$folder/venv/bin/python" - <<'PYTHON'
import sys

from mlflow import MlflowClient

client = MlflowClient("sqlite:///mlflow.db")
experiment = client.create_experiment("norms")


def show(first: float, second: float) -> str:
    run = client.create_run(experiment).info.run_id
    for value in (first, second):
        client.log_metric(run, "loss", value, timestamp=1_000, step=5)
    latest = str(client.get_run(run).data.metrics["loss"])
    print(f"{first} then {second}: {latest}")
    return latest


nan = float("nan")
pairs = [(3.0, 1.0), (1.0, 3.0), (1.0, nan), (-1.0, nan), (nan, -1.0)]
sys.exit([show(*pair) for pair in pairs] != ["3.0", "3.0", "1.0", "nan", "nan"])
PYTHON
