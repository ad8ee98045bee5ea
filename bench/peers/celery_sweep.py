"""A hand-written service: Celery on Redis, warm workers, every epoch a row in PostgreSQL.

`celery -A celery_sweep worker` runs it; `python celery_sweep.py` is its client: it warms the workers up, says
`ready`, sends the sweep when it reads a line, and says `done` once all results are in the database.
"""

import functools
import os
import sys
import time

import psycopg
import torch
from celery import Celery, group
from training import Epoch, Inputs, train

app = Celery("sweep", broker=os.environ["SWEEP_REDIS"], backend=os.environ["SWEEP_REDIS"])
app.conf.update(
    task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True
)

TABLES = """
CREATE TABLE jobs (key text PRIMARY KEY, epochs int, test_loss float8, test_accuracy float8);
CREATE TABLE epochs (
    key text, epoch int, step int, train_loss float8, train_accuracy float8, val_loss float8, val_accuracy float8,
    PRIMARY KEY (key, epoch)
);
"""


@functools.cache
def _connection() -> psycopg.Connection:
    return psycopg.connect(os.environ["SWEEP_DATABASE"], autocommit=True)


@functools.cache
def _inputs() -> Inputs:
    torch.set_num_threads(1)
    return Inputs(os.environ["SWEEP_INPUTS"])


@app.task(name="warm_up")
def warm_up(number: int) -> int:
    """One epoch, of which nothing is kept; long enough that each process gets one."""
    list(train(_inputs().jobs[number]._replace(epochs=1), _inputs()))
    _connection()
    time.sleep(2)
    return os.getpid()


@app.task(name="run")
def run(number: int) -> None:
    job = _inputs().jobs[number]
    for row in train(job, _inputs()):
        if isinstance(row, Epoch):
            _connection().execute(
                "INSERT INTO epochs VALUES (%s, %s, %s, %s, %s, %s, %s)", (job.key, *row)
            )
        else:
            _connection().execute(
                "INSERT INTO jobs VALUES (%s, %s, %s, %s)",
                (job.key, row["epochs"], row["test_loss"], row["test_accuracy"]),
            )


def main() -> None:
    _connection().execute(TABLES)
    while len(set(group(warm_up.s(number) for number in (0, 1))().get())) < 2:
        pass
    print("ready", flush=True)
    sys.stdin.readline()
    group(run.s(number) for number in range(len(_inputs().jobs)))().get()
    print("done", flush=True)


if __name__ == "__main__":
    main()
