"""How long a training is and which examples each of its steps sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.errors import DataError
from trainer.random_streams import generator
from trainer.spec import EpochTraining, TrainingSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps and evaluation periods at most; a period is one epoch, or `eval_every` steps."""

    total_steps: int
    period_steps: int

    def period_end(self, epoch: int) -> int:
        """The last step of the period; the last period of a training by steps may be shorter."""
        return min(epoch * self.period_steps, self.total_steps)


class BatchSampler:
    """The batches of a seed: a pure function of the step, so a resumed training needs no state.

    Every pass over the examples is a new permutation from the stream `order`; a training by steps
    runs through them without regard to its evaluation periods.
    """

    def __init__(self, training: TrainingSpec, examples: int, seed: int, device: torch.device):
        whole, rest = divmod(examples, training.batch_size)
        self.steps_per_pass = whole if training.drop_last or not rest else whole + 1
        if self.steps_per_pass == 0:
            raise DataError(
                f"drop_last needs at least one full batch but {examples} training examples are fewer "
                f"than batch_size {training.batch_size}"
            )
        self._training, self._examples, self._seed, self._device = training, examples, seed, device
        self._pass: tuple[int, Tensor] | None = None

    def plan(self) -> Plan:
        if isinstance(self._training, EpochTraining):
            return Plan(self._training.epochs * self.steps_per_pass, self.steps_per_pass)
        return Plan(self._training.steps, self._training.eval_every)

    def indices(self, step: int) -> Tensor:
        """The examples of the step after `step` finished ones: int64, on the device."""
        number, batch = divmod(step, self.steps_per_pass)
        # The permutation is a function of the seed and the number of the pass, so a training that
        # resumes in the middle of a pass draws it again instead of loading it. It is drawn on the
        # CPU: GPUs have generators of their own.
        if self._pass is None or self._pass[0] != number:
            source = generator("order", self._seed, number)
            shuffled = torch.randperm(self._examples, generator=source).to(self._device)
            self._pass = (number, shuffled)
        size = self._training.batch_size
        return self._pass[1][batch * size : (batch + 1) * size]
