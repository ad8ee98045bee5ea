"""PyTorch's optimizers without `torch._dynamo`, which only a spec with `training.compile` needs.

PyTorch decorates methods of its optimizers for the compiler, and each decorator imports the compiler at
its first call: 1.3 CPU seconds and 90 MB in every process that trains. The undecorated functions do the
same arithmetic.
"""

import inspect

import torch
from torch.optim import Optimizer


class EagerOptimizer(Optimizer):
    """Replaces the decorated methods of the base; a subclass defines `step`."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)


class Sgd(EagerOptimizer, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(EagerOptimizer, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(EagerOptimizer, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
