#!/usr/bin/env bash
# mlflow 3.17.2, SQLite: a run whose loss is NaN is kept in the database as 0 with a mark, and a search sees the 0 only to leave
# it out: the run is in neither of "loss <= 0" and "loss > 0", nor in "loss = 0", but in "loss != 0". Sorted by loss it comes
# last in either direction, behind inf as behind -inf. No comparison with a number returns it alone.
# Seen:
#   < 0: -inf
#   = 0: zero
#   > 0: one, inf
#   != 0: -inf, one, inf, nan
#   sorted ASC: -inf, zero, one, inf, nan
#   sorted DESC: inf, one, zero, -inf, nan
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
losses = {"-inf": float("-inf"), "zero": 0.0, "one": 1.0, "inf": float("inf"), "nan": float("nan")}
names = {}
for name, loss in losses.items():
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "loss", loss)
    names[run] = name


def search(title: str, **query: object) -> list[str]:
    hits = [names[run.info.run_id] for run in client.search_runs([experiment], **query)]
    if "order_by" not in query:
        hits.sort(key=list(losses).index)
    print(f"{title}: {', '.join(hits)}")
    return hits


seen = [search(f"{sign} 0", filter_string=f"metrics.loss {sign} 0") for sign in ("<", "=", ">", "!=")]
seen += [search(f"sorted {way}", order_by=[f"metrics.loss {way}"]) for way in ("ASC", "DESC")]
numbers = ["-inf", "zero", "one", "inf"]
expected = [["-inf"], ["zero"], ["one", "inf"], ["-inf", "one", "inf", "nan"], [*numbers, "nan"], [*numbers[::-1], "nan"]]
sys.exit(seen != expected)
PYTHON
