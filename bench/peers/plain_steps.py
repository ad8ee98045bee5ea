"""The median CPU milliseconds of a training step of the plain loop: `python plain_steps.py INPUTS KEY`."""

import statistics
import sys
import time
from itertools import pairwise

import torch
from training import Inputs, train


def main() -> None:
    torch.set_num_threads(1)
    inputs = Inputs(sys.argv[1])
    job = next(job for job in inputs.jobs if job.key == sys.argv[2])
    times: list[float] = []
    for _ in train(job, inputs, lambda: times.append(time.process_time())):
        pass
    print(1000 * statistics.median(after - before for before, after in pairwise(times)))


if __name__ == "__main__":
    main()
