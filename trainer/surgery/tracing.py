"""Follows one forward pass over the meta device: which layer made each tensor and who takes it.

Shapes only, no memory, no randomness.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainer.errors import ModelError
from trainer.layers import drops, has_weights, is_activation, is_called_norm, is_leaf, norm_layout
from trainer.surgery.provenance import SHAPE_FUNCTIONS, Channels, ChannelTag, Sources
from trainer.surgery.remembered_shapes import on_meta

#: Samples in the example batch: two, so that batch norm has something to average over.
SAMPLES = 2

_NORM_FUNCTIONS = frozenset(
    {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"}
)
# A module with parts of its own is not a norm for its name: it must take one of these itself.
_STATISTICS = frozenset(
    {"mean", "var", "std", "var_mean", "std_mean", "norm", "vector_norm", "rsqrt", "normalize"}
)


def run_on_meta(
    twin: nn.Module, example_shape: tuple[int, ...], tracer: "Tracer | None" = None
) -> Tensor:
    """The outputs of an example batch in training mode; ModelError names the layer that broke."""
    tracer = tracer or Tracer(twin)
    twin.train()
    try:
        with torch.no_grad(), on_meta(), tracer:
            output = twin(torch.empty((SAMPLES, *example_shape)))
    except Exception as error:  # a library's model breaks on small images in every way there is
        raise ModelError(
            f"the model cannot take images of {describe_image(example_shape)}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}",
            "larger images (dataset.image_size), or another model",
            layer=tracer.innermost,
        ) from error
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the model returns {type(output).__name__} in training but logits are needed",
            "another model",
        )
    return output


def describe_image(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[2]} pixels and {shape[0]} channel{'s' if shape[0] > 1 else ''}"


def copy_to_meta(model: nn.Module) -> nn.Module:
    """The same modules with tensors that hold nothing; the weights are not copied on the way."""
    # `deepcopy` takes from the memo what it would copy: filled with empty tensors, it copies the
    # modules alone, and a tensor that two modules share is one tensor in the copy as well.
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in _tensors_of(module):
            empty = torch.empty_like(tensor, device="meta", requires_grad=False)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    twin: nn.Module = copy.deepcopy(model, memo)
    return twin


def _tensors_of(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
    yield from (value for value in vars(module).values() if isinstance(value, Tensor))


@dataclass(slots=True)
class Seen:
    """What a norm layer saw: input shapes, their channels, the layer that fed it, dropout before it."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    channels: list[ChannelTag] = field(default_factory=list)
    producers: set[str | None] = field(default_factory=set)
    dropout: str | None = None


class Tracer(TorchFunctionMode):
    """By hooks on the modules, and by seeing every torch function."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self.layouts = {n: layout for n, m in self.modules.items() if (layout := norm_layout(m))}
        self.seen: dict[str, Seen] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.obstacles: dict[str, str] = {}
        self.multiplications = 0
        self._suspects = {
            n for n, m in self.modules.items() if n not in self.layouts and is_called_norm(m)
        }
        self._stack: list[str] = []
        self._calls: Counter[str] = Counter()
        # Tensors are kept alive, so that ids stay unique.
        self._made: dict[int, tuple[Tensor, str]] = {}
        self._given: dict[int, tuple[Tensor, str]] = {}
        self._sources, self._channels = Sources(), Channels()
        self._uses: Counter[str] = Counter()
        self._takers: dict[str, list[str]] = defaultdict(list)
        self._dropout: str | None = None
        self._classifier: tuple[str, Tensor] | None = None
        self._output: Tensor | None = None
        for name, module in self.modules.items():
            module.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            module.register_forward_hook(self._leaving(name))

    @property
    def innermost(self) -> str | None:
        return self._stack[-1] if self._stack and self._stack[-1] else None

    @property
    def classifier(self) -> str | None:
        """The linear layer whose output is the model's."""
        if self._classifier is None or self._output is not self._classifier[1]:
            return None
        return self._classifier[0]

    @property
    def scores(self) -> frozenset[str]:
        """The convolutions and linear layers whose outputs become the model's by functions alone."""
        return self._sources.of(self._output) if self._output is not None else frozenset()

    def sole_producer(self, name: str) -> str | None:
        """The convolution or linear layer whose output goes to this norm and nowhere else."""
        seen = self.seen[name]
        sole = next(iter(seen.producers)) if len(seen.producers) == 1 else None
        # As often as the norm was called, and no more: somebody else, such as a residual branch,
        # may use the same output.
        return sole if sole is not None and self._uses[sole] == len(seen.shapes) else None

    def sole_activation(self, name: str) -> str | None:
        """The activation that takes this layer's output as it is, and that nothing else shares."""
        takers = self._takers.get(name, [])
        if len(takers) != 1 or self._calls[name] != 1:
            return None
        taker = self.modules[takers[0]]
        return takers[0] if is_activation(taker) and self._calls[takers[0]] == 1 else None

    def _entering(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._calls[name] += 1
            if name in self.layouts:
                self._record(name, next(iter((*args, *kwargs.values()))))
            if name in self._suspects and is_leaf(module):
                self._note_strange_norm(name)
            self._stack.append(name)

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._stack.pop()
            if isinstance(output, Tensor) and (has_weights(module) or name in self.layouts):
                self._given[id(output)] = (output, name)
                self.outputs.setdefault(name, tuple(output.shape))
                self._begin_tags(name, module, args, output)
            if has_weights(module) and isinstance(output, Tensor):
                self._made[id(output)] = (output, name)
                self.multiplications += output.numel() * module.weight[0].numel()  # type: ignore[index]
            if drops(module):
                self._dropout = name
            if isinstance(module, nn.Linear):
                self._classifier = (name, output)
            if name == "":
                self._output = output

        return hook

    def _begin_tags(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        self._sources.begin(output, (name,) if has_weights(module) else ())
        is_last = isinstance(module, nn.Linear) or self.layouts.get(name) == "channels_last"
        self._channels.begin(module, args[0] if args else output, output, is_last)

    def _record(self, name: str, x: Tensor) -> None:
        seen = self.seen.setdefault(name, Seen(dropout=self._dropout))
        seen.shapes.append(tuple(x.shape))
        axis = -1 if self.layouts[name] == "channels_last" else 1
        seen.channels.append(self._channels.of(x).entering(x.shape[axis]))
        producer = self._made.get(id(x), (None, None))[1]
        seen.producers.add(producer)
        if producer is not None:
            self._uses[producer] += 1

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        inside = any(step in self.layouts for step in self._stack)
        if name in _NORM_FUNCTIONS and not inside and not self._is_on_weights():
            where = self.innermost or ""
            self.obstacles[where] = f"{name} is called as a function"
        if name in _STATISTICS and self.innermost in self._suspects:
            self._note_strange_norm(self.innermost)
        result = func(*args, **(kwargs or {}))
        # Inside of a norm nothing is followed: its own arithmetic would look like further users of
        # what it was given.
        if not inside:
            self._follow(name, [*args, *(kwargs or {}).values()], result)
        return result

    def _note_strange_norm(self, name: str) -> None:
        kind = type(self.modules[name]).__name__
        self.obstacles[name] = f"{kind} is a normalization of another kind"

    def _is_on_weights(self) -> bool:
        """Libraries standardize the weights of a convolution by a norm's function."""
        return self.innermost is not None and has_weights(self.modules[self.innermost])

    def _follow(self, function: str, inputs: list[Any], result: Any) -> None:
        """Keep track of whose output a tensor still is, and of who else uses it."""
        outputs = [item for item in _flatten(result) if isinstance(item, Tensor)]
        if not outputs:
            return
        tensors = [item for item in _flatten(inputs) if isinstance(item, Tensor)]
        for item in tensors:
            if id(item) in self._given:
                self._takers[self._given[id(item)][1]].append(
                    self._stack[-1] if self._stack else ""
                )
        self._sources.follow(function, tensors, outputs)
        self._channels.follow(function, tensors, outputs)
        makers = [self._made[id(item)][1] for item in tensors if id(item) in self._made]
        for output in outputs:
            # An operation in place returns the tensor that it was given, which is no longer what
            # the layer had made.
            self._made.pop(id(output), None)
            self._given.pop(id(output), None)
        if function in SHAPE_FUNCTIONS and len(makers) == 1:
            for output in outputs:
                self._made[id(output)] = (output, makers[0])
        else:
            self._uses.update(makers)


def _flatten(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flatten(item)
    else:
        yield value
