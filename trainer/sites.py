"""Finds the norm layers of a model, what each sees and what feeds it. Changes nothing.

The model runs once on the meta device: shapes only, no memory, no randomness.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainer.errors import ModelError
from trainer.recognition import Layout, is_strange, norm_layout

#: Samples in the example batch: two, so that batch norm has something to average over.
SAMPLES = 2

_NORM_FUNCTIONS = frozenset(
    {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"}
)
# Values and their number stay, so a bias before is a bias after.
_SHAPE_FUNCTIONS = frozenset(
    {"permute", "transpose", "reshape", "view", "flatten", "contiguous", "movedim"}
    | {"unsqueeze", "squeeze"}
)


@dataclass(frozen=True, slots=True)
class NormSite:
    """A norm layer: `shape` is what one row of its input is, channels first: C, or C, H, W …

    `tokens`: part of a transformer, which normalizes every position alone. `folded`: its first axis
    holds more than the samples (windows). `values`: per channel, that one sample gives to its input.
    `producer`: the convolution or linear layer whose output goes here and nowhere else.
    """

    name: str
    kind: str
    layout: Layout
    shape: tuple[int, ...]
    tokens: bool
    folded: bool
    values: int
    producer: str | None
    dropout: str | None

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def positions(self) -> int:
        return prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A normalization that surgery cannot reach, and why."""

    layer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Survey:
    """Norm layers in the order of their first call; `unused` are never called."""

    sites: tuple[NormSite, ...]
    unused: tuple[str, ...]
    obstacles: tuple[Obstacle, ...]
    output_shape: tuple[int, ...]
    classifier: str | None


def survey_norms(model: nn.Module, example_shape: tuple[int, ...]) -> Survey:
    """`example_shape` is one image, C, H, W. Raises ModelError where the model cannot take it."""
    twin = copy_to_meta(model)
    tracer = _Tracer(twin)
    output = run_on_meta(twin, example_shape, tracer)
    return tracer.survey(tuple(output.shape))


def run_on_meta(
    twin: nn.Module, example_shape: tuple[int, ...], tracer: "_Tracer | None" = None
) -> Tensor:
    """The logits of an example batch in training mode; ModelError names the layer that broke."""
    tracer = tracer or _Tracer(twin)
    twin.train()
    try:
        with torch.no_grad(), torch.device("meta"), tracer:
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
class _Seen:
    """What a norm layer saw: input shapes, the layer that fed it, dropout that ran before."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    producers: set[str | None] = field(default_factory=set)
    dropout: str | None = None


class _Tracer(TorchFunctionMode):
    """Follows one forward pass by hooks on the modules and by seeing every torch function."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._modules: dict[str, nn.Module] = dict(model.named_modules())
        self._layouts = {n: layout for n, m in self._modules.items() if (layout := norm_layout(m))}
        self._seen: dict[str, _Seen] = {}
        self._strange = {
            n for n, m in self._modules.items() if n not in self._layouts and is_strange(m)
        }
        self._obstacles: dict[str, str] = {}
        self._stack: list[str] = []
        self._made: dict[int, tuple[Tensor, str]] = {}  # keeps tensors alive: ids stay unique
        self._uses: Counter[str] = Counter()
        self._dropout: str | None = None
        self._classifier: tuple[str, Tensor] | None = None
        self._output: Tensor | None = None
        for name, module in self._modules.items():
            module.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            module.register_forward_hook(self._leaving(name))

    @property
    def innermost(self) -> str | None:
        return self._stack[-1] if self._stack and self._stack[-1] else None

    def _entering(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if name in self._layouts:
                self._record(name, next(iter((*args, *kwargs.values()))))
            if name in self._strange:
                self._obstacles[name] = (
                    f"{type(module).__name__} is a normalization of another kind"
                )
            self._stack.append(name)

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._stack.pop()
            if is_producer(module) and isinstance(output, Tensor):
                self._made[id(output)] = (output, name)
            if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                self._dropout = name
            if isinstance(module, nn.Linear):
                self._classifier = (name, output)
            if name == "":
                self._output = output

        return hook

    def _record(self, name: str, x: Tensor) -> None:
        seen = self._seen.setdefault(name, _Seen(dropout=self._dropout))
        seen.shapes.append(tuple(x.shape))
        producer = self._made.get(id(x), (None, None))[1]
        seen.producers.add(producer)
        if producer is not None:
            self._uses[producer] += 1

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        inside = any(step in self._layouts for step in self._stack)
        if name in _NORM_FUNCTIONS and not inside:
            where = self.innermost or ""
            self._obstacles[where] = f"{name} is called as a function"
        result = func(*args, **(kwargs or {}))
        if not inside:
            self._follow(name, [*args, *(kwargs or {}).values()], result)
        return result

    def _follow(self, function: str, inputs: list[Any], result: Any) -> None:
        """Keep track of whose output a tensor still is, and of who else uses it."""
        outputs = [item for item in _flatten(result) if isinstance(item, Tensor)]
        if not outputs:
            return
        makers = [
            self._made[id(item)][1]
            for item in _flatten(inputs)
            if isinstance(item, Tensor) and id(item) in self._made
        ]
        for output in outputs:
            self._made.pop(id(output), None)
        if function in _SHAPE_FUNCTIONS and len(makers) == 1:
            for output in outputs:
                self._made[id(output)] = (output, makers[0])
        else:
            self._uses.update(makers)

    def survey(self, output_shape: tuple[int, ...]) -> Survey:
        sites = []
        for name, seen in self._seen.items():
            try:
                sites.append(self._site(name, seen))
            except _Unfit as error:
                self._obstacles[name] = str(error)
        classifier = self._classifier
        direct = classifier is not None and self._output is classifier[1]
        return Survey(
            tuple(sites),
            tuple(name for name in self._layouts if name not in self._seen),
            tuple(Obstacle(name, detail) for name, detail in self._obstacles.items()),
            output_shape,
            classifier[0] if classifier is not None and direct else None,
        )

    def _site(self, name: str, seen: _Seen) -> NormSite:
        module, layout, shape = self._modules[name], self._layouts[name], min(seen.shapes, key=prod)
        if len({len(other) for other in seen.shapes}) > 1 or not 2 <= len(shape) <= 5:
            raise _Unfit(f"{type(module).__name__} sees inputs of shapes {seen.shapes}")
        if layout == "channels_last":
            _require_one_axis(module)
            parent = type(self._parent(name)).__name__
            if len(shape) == 4 and "attention" in parent.lower():
                raise _Unfit(f"{type(module).__name__} in {parent} may see heads or positions")
            shape = (shape[0], shape[-1], *shape[1:-1])
        sole = next(iter(seen.producers)) if len(seen.producers) == 1 else None
        calls = len(seen.shapes)
        return NormSite(
            name,
            type(module).__name__,
            layout,
            shape[1:],
            tokens=layout == "channels_last" and len(shape) > 2 and self._has_sequences(),
            folded=shape[0] != SAMPLES,
            values=prod(shape) // (shape[1] * SAMPLES),
            producer=sole if sole is not None and self._uses[sole] == calls else None,
            dropout=seen.dropout,
        )

    def _has_sequences(self) -> bool:
        """One N, L, C is enough: models that go between N, L, C and N, H, W, C are transformers."""
        return any(
            self._layouts[name] == "channels_last" and len(shape) == 3
            for name, seen in self._seen.items()
            for shape in seen.shapes
        )

    def _parent(self, name: str) -> nn.Module:
        return self._modules[name.rpartition(".")[0]]


class _Unfit(Exception):
    """A norm layer in a place that no variant is defined for."""


def _require_one_axis(module: nn.Module) -> None:
    axes = tuple(getattr(module, "normalized_shape", (0,)))
    if len(axes) != 1:
        raise _Unfit(f"{type(module).__name__} normalizes the axes {axes} but one axis is known")


def is_producer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def _flatten(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flatten(item)
    else:
        yield value
