"""PyTorch's optimizers without `torch._dynamo`, which only a spec with `training.compile` needs.

PyTorch decorates methods of its optimizers for the compiler, and each decorator imports the compiler at
its first call: 1.3 CPU seconds and 90 MB in every process that trains. The undecorated functions do the
same arithmetic.

A step of a small model takes as long as the bookkeeping around it, so what doesn't change from step to
step is looked up once: hooks and the profiler's marks, which nothing here uses, are left out.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

_Step = TypeVar("_Step", bound=Callable[..., Any])


def without_hooks(step: _Step) -> _Step:
    """`Optimizer` wraps a step that isn't marked as wrapped already, to call hooks and mark profiles."""
    step.hooked = True  # type: ignore[attr-defined]
    return step


class EagerOptimizer(Optimizer):
    """Replaces the decorated methods of the base; a subclass defines `step`."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    state_dict = inspect.unwrap(Optimizer.state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """To None always."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class Sgd(EagerOptimizer, torch.optim.SGD):
    """Calls the fused kernel as `torch.optim.SGD` does, with equal arguments."""

    _any_step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._momenta: dict[int, list[Tensor]] = {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._momenta.clear()

    @without_hooks
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        gradients = [[one.grad for one in group["params"]] for group in self.param_groups]
        if any(one is None for some in gradients for one in some):
            self._any_step()
            return
        with torch.no_grad():
            for number, (group, own) in enumerate(zip(self.param_groups, gradients, strict=True)):
                self._update(number, group, own)

    def _update(self, number: int, group: dict[str, Any], gradients: list[Tensor]) -> None:
        is_first = False
        if group["momentum"] and number not in self._momenta:
            is_first = self._look_up_momenta(number, group["params"], gradients)
        torch._fused_sgd_(
            group["params"],
            gradients,
            self._momenta.get(number, []),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            is_first_step=is_first,
        )

    def _look_up_momenta(
        self, number: int, parameters: list[Tensor], gradients: list[Tensor]
    ) -> bool:
        """Those of the state, made where there are none yet: whether this is the first step."""
        states = [self.state[one] for one in parameters]
        is_first = all(state.get("momentum_buffer") is None for state in states)
        if is_first:
            for state, gradient in zip(states, gradients, strict=True):
                state["momentum_buffer"] = torch.empty_like(gradient)
        self._momenta[number] = [state["momentum_buffer"] for state in states]
        return is_first


class Adam(EagerOptimizer, torch.optim.Adam):
    step = without_hooks(torch.no_grad()(inspect.unwrap(torch.optim.Adam.step)))


class AdamW(EagerOptimizer, torch.optim.AdamW):
    step = without_hooks(torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step)))
