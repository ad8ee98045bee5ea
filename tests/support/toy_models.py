"""A small model around any layers, and the surgery on it, for the tests of trainer/surgery."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tests.support.trainer_specs import make_info, make_spec
from trainer.spec.dataset import DatasetInfo
from trainer.surgery.replace_norms import SurgeryReport, replace_norms


def colour(size: int) -> DatasetInfo:
    return make_info(name="colour", shape=(3, size, size), mean=(0.5,) * 3, std=(0.25,) * 3)


class Toy(nn.Module):
    """A convolution, what the test puts after it, a mean and a classifier."""

    def __init__(
        self, norm: nn.Module, forward: Callable[[Any, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.other = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = norm
        self.classifier = nn.Linear(8, 4)
        self.middle = forward or (lambda toy, x: toy.norm(x))

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.middle(self, self.conv(x)).mean((2, 3)))


def replace_toy_norms(toy: nn.Module, norm: Any = "none") -> SurgeryReport:
    return replace_norms(toy, make_spec("cnn", norm).norm, (3, 8, 8))
