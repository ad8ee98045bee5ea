"""The floor: `python bare.py INPUTS RUN`, started twice. Each cold process takes the next training that nobody
has until none is left, tracks nothing, and at its end writes what came out beside the claims."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from training import Epoch, Inputs, Job, train


def main() -> None:
    inputs, run = Inputs(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    results = {}
    for job in inputs.jobs:
        if _claim(job, run):
            results[job.key] = [*train(job, inputs)]
    for key, rows in results.items():
        curve = [row._asdict() for row in rows if isinstance(row, Epoch)]
        (run / f"{key}.json").write_text(json.dumps({"epochs": curve, "summary": rows[-1]}))


def _claim(job: Job, run: Path) -> bool:
    with suppress(FileExistsError):
        os.close(os.open(run / f"{job.key}.claim", os.O_CREAT | os.O_EXCL))
        return True
    return False


if __name__ == "__main__":
    main()
