"""What a training turned out to be, beyond what its spec says: counts and digests by which two trainings
can be told apart, and what guessing would score."""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import nn

from runtime.files import digest_of_parts
from trainer.data import Data
from trainer.models import split_parameters
from trainer.spec import Classification, JobSpec, Regression
from trainer.training.batch_order import Plan

Facts: TypeAlias = Mapping[str, int | float | str]

#: The number of learning rates, evenly over the training, in the digest of a schedule.
_RATES = 256
_DECAYS = ("weight_decay", "decoupled_decay")


def describe_facts(
    spec: JobSpec,
    data: Data,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    rate: Callable[[int], float],
) -> Facts:
    """`rate` is the learning rate after a number of steps. Digests are blake2b, 16 bytes, hex.

    Keys: weight_parameters, bias_parameters, norm_parameters (counts, as `trainer.models.parameters` parts
    them), decayed_norm_parameters, decayed_bias_parameters (under weight decay), examples_per_step,
    total_steps, schedule, train_size, val_size, test_size, test_is_cut (1: by the split's seed; 0: it is
    the set's own), data, split; where guessing has a score, chance_accuracy and chance_loss; and initial_weights of a
    training that begins with another job's.
    """
    return {
        **_parameters(model, optimizer),
        "examples_per_step": min(spec.training.batch_size, len(data.train)),
        "total_steps": plan.total_steps,
        "schedule": _schedule_digest(plan.total_steps, rate),
        "train_size": len(data.train),
        "val_size": len(data.val),
        "test_size": len(data.test),
        "test_is_cut": int(data.info.test_size is None),
        "data": data.info.digest,
        "split": _split_digest(data),
        **_chance(spec, data),
        **_initial_weights(spec),
    }


def _initial_weights(spec: JobSpec) -> dict[str, str]:
    """By their digest, if they are another job's."""
    digest = spec.init_from.digest if spec.init_from is not None else None
    return {} if digest is None else {"initial_weights": digest}


def _parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    parts = split_parameters(model)
    decayed = {
        id(parameter)
        for group in optimizer.param_groups
        if any(group.get(name) for name in _DECAYS)
        for parameter in group["params"]
    }

    def count(some: list[nn.Parameter], within: set[int] | None = None) -> int:
        counted = [one for one in some if within is None or id(one) in within]
        return sum(parameter.numel() for parameter in counted if parameter.requires_grad)

    return {
        "weight_parameters": count(parts.weights),
        "bias_parameters": count(parts.biases),
        "norm_parameters": count(parts.norms),
        "decayed_bias_parameters": count(parts.biases, decayed),
        "decayed_norm_parameters": count(parts.norms, decayed),
    }


def _schedule_digest(total_steps: int, rate: Callable[[int], float]) -> str:
    count = min(_RATES, total_steps)
    steps = [number * (total_steps - 1) // max(1, count - 1) for number in range(count)]
    return digest_of_parts([repr([(step, rate(step)) for step in steps]).encode()])


def _split_digest(data: Data) -> str:
    """Of the labels in order: another cut, or other noise on labels, gives others."""
    parts = (data.train, data.val, data.test)
    return digest_of_parts(part.labels.numpy().tobytes() for part in parts)


def _chance(spec: JobSpec, data: Data) -> dict[str, float]:
    """Of a uniform guess among the classes, or of the training mean as a prediction for all."""
    match spec.task:
        case Classification():
            classes = len(data.info.classes)
            return {"chance_accuracy": 1 / classes, "chance_loss": math.log(classes)}
        case Regression():
            guess = data.train.labels.double().mean()
            return {"chance_loss": float((data.test.labels - guess).square().mean())}
        case _:
            return {}
