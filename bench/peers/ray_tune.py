"""Ray Tune over the sweep, two trials at a time, each logging to MLflow: `python ray_tune.py INPUTS RUN`."""

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray gives up after half a minute where a busy machine is slow.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")

import mlflow
import ray
import torch
from ray import tune
from training import Epoch, Inputs, train


def trial(config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    inputs = Inputs(config["inputs"])
    job = inputs.jobs[config["number"]]
    mlflow.set_tracking_uri(config["tracking"])
    mlflow.set_experiment("sweep")
    with mlflow.start_run(run_name=job.key):
        mlflow.log_params(job._asdict())
        for row in train(job, inputs):
            if isinstance(row, Epoch):
                mlflow.log_metrics(row._asdict(), step=row.epoch)
                tune.report(row._asdict())
            else:
                mlflow.log_metrics({key: value for key, value in row.items() if key != "key"})
    # A process may run several trials: what counts is the last of its files.
    (Path(config["run"]) / f"{os.getpid()}.cpu").write_text(f"{time.process_time()}")


def main() -> None:
    inputs, run = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    tracking = f"sqlite:///{run}/mlflow.db"
    mlflow.set_tracking_uri(tracking)
    mlflow.set_experiment("sweep")
    here = str(Path(__file__).parent)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={
            "inputs": str(inputs),
            "run": str(run),
            "tracking": tracking,
            "number": tune.grid_search(list(range(len(Inputs(inputs).jobs)))),
        },
        tune_config=tune.TuneConfig(max_concurrent_trials=2),
        run_config=tune.RunConfig(storage_path=str(run), name="sweep", verbose=0),
    )
    results = tuner.fit()
    ray.shutdown()
    if results.errors:
        raise results.errors[0]


if __name__ == "__main__":
    main()
