"""Which examples each step sees, and how long a training is."""

from itertools import chain

import pytest
import torch

from trainer.errors import DataError
from trainer.spec.optimization import EpochTraining, StepTraining
from trainer.training.batch_order import BatchSampler, Plan

CPU = torch.device("cpu")


def batches(sampler, steps):
    return [sampler.indices(step).tolist() for step in steps]


def test_every_pass_sees_every_example_once_in_another_order():
    sampler = BatchSampler(EpochTraining(epochs=2, batch_size=4), 10, 0, CPU)
    first, second = batches(sampler, range(3)), batches(sampler, range(3, 6))
    assert [len(one) for one in first] == [4, 4, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second


def test_an_incomplete_batch_is_left_out_on_demand():
    sampler = BatchSampler(EpochTraining(epochs=2, batch_size=4, drop_last=True), 10, 0, CPU)
    assert [len(one) for one in batches(sampler, range(4))] == [4] * 4
    assert sampler.plan() == Plan(total_steps=4, period_steps=2)


def test_training_by_steps_runs_through_the_passes_whatever_its_periods():
    by_epochs = BatchSampler(EpochTraining(epochs=3, batch_size=4), 10, 5, CPU)
    by_steps = BatchSampler(StepTraining(steps=8, eval_every=5, batch_size=4), 10, 5, CPU)
    assert batches(by_steps, range(8)) == batches(by_epochs, range(8))
    plan = by_steps.plan()
    assert [plan.period_end(epoch) for epoch in (1, 2)] == [5, 8]


def test_the_order_is_a_function_of_seed_and_step_alone():
    sampler, other = (BatchSampler(EpochTraining(batch_size=4), 10, 0, CPU) for _ in range(2))
    assert batches(sampler, [7, 0, 3]) == [batches(other, range(8))[step] for step in (7, 0, 3)]
    assert batches(sampler, [0]) != batches(
        BatchSampler(EpochTraining(batch_size=4), 10, 1, CPU), [0]
    )


def test_fewer_examples_than_a_full_batch_are_refused_when_it_would_be_left_out():
    with pytest.raises(DataError, match="3 training examples are fewer than batch_size 4"):
        BatchSampler(EpochTraining(batch_size=4, drop_last=True), 3, 0, CPU)
