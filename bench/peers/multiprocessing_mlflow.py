"""A pool of two processes that log every epoch to MLflow: `python multiprocessing_mlflow.py INPUTS RUN`."""

import multiprocessing
import sys
from multiprocessing.synchronize import Lock
from pathlib import Path

import mlflow
import torch
from training import Epoch, Inputs, train

_inputs: list[Inputs] = []


def main() -> None:
    folder, run = sys.argv[1], Path(sys.argv[2])
    lock = multiprocessing.Lock()
    count = len(Inputs(folder).jobs)
    with multiprocessing.Pool(2, _start, (folder, f"sqlite:///{run}/mlflow.db", lock)) as pool:
        pool.map(_run, range(count), chunksize=1)


def _start(folder: str, tracking: str, lock: Lock) -> None:
    torch.set_num_threads(1)
    _inputs.append(Inputs(folder))
    mlflow.set_tracking_uri(tracking)
    # The first of them makes the tables.
    with lock:
        mlflow.set_experiment("sweep")


def _run(number: int) -> None:
    inputs = _inputs[0]
    job = inputs.jobs[number]
    with mlflow.start_run(run_name=job.key):
        mlflow.log_params(job._asdict())
        for row in train(job, inputs):
            if isinstance(row, Epoch):
                mlflow.log_metrics(row._asdict(), step=row.epoch)
            else:
                mlflow.log_metrics({key: value for key, value in row.items() if key != "key"})


if __name__ == "__main__":
    main()
