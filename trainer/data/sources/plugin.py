"""Data that a function of one of the installation's own packages gives, as arrays."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy
import numpy.typing

from trainer.errors import DataError
from trainer.plugins import PluginError, explain_misfit, load_plugin
from trainer.spec import PluginData

#: As in `trainer.data.sources.find`.
Array: TypeAlias = numpy.typing.NDArray[Any]
#: Of a class.
_LONGEST_NAME = 200

_FORM = (
    "a mapping with `train`, and perhaps `test`, each (images or features, targets), and `classes` where targets are "
    "whole numbers from 0 on"
)


def read_plugin(
    source: PluginData,
) -> tuple[tuple[str, ...], Mapping[str, tuple[Array, Array]]]:
    """The names of the classes, and by part N, C, H, W (uint8 pixels, or float32 features of height and width 1) and the
    targets. Raises DataError, also for whatever the function raises."""
    try:
        function = load_plugin("dataset", source.entry, source.installed)
    except PluginError as error:
        raise DataError(str(error)) from error
    if (misfit := explain_misfit(function, **source.options)) is not None:
        raise DataError(f"{source.name} cannot be called with these options: {misfit}")
    try:
        given = function(**source.options)
    except Exception as error:  # foreign code fails in every way
        raise DataError(f"{source.name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(given, Mapping):
        raise DataError(f"{source.name} must give {_FORM}, but gave a {type(given).__name__}")
    # A part under another name would be left out without a word.
    if not {"train"} <= given.keys() <= {"train", "test", "classes"}:
        keys = ", ".join(map(str, given)) or "nothing"
        raise DataError(f"{source.name} must give {_FORM}, but gave a mapping with {keys}")
    parts = {
        name: _read_part(source, name, given[name]) for name in ("train", "test") if name in given
    }
    _require_alike(source, parts)
    return _read_classes(source, given, parts), parts


def _read_part(source: PluginData, name: str, part: Any) -> tuple[Array, Array]:
    try:
        inputs, targets = (numpy.asarray(one) for one in part)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source.name}: {name} must be two arrays: {error}") from error
    is_pixels = inputs.dtype == numpy.uint8 and inputs.ndim == 4 and inputs.shape[1] in (1, 3)
    is_features = numpy.issubdtype(inputs.dtype, numpy.floating) and inputs.ndim == 2
    if not is_pixels and not is_features:
        raise DataError(
            f"{source.name}: the inputs of {name} must be uint8 of N × 1 or 3 × height × width, or floats of "
            f"N × features, but are {inputs.dtype} of {' × '.join(map(str, inputs.shape))}"
        )
    if 0 in inputs.shape[1:]:
        raise DataError(
            f"{source.name}: the inputs of {name} hold nothing: {' × '.join(map(str, inputs.shape))}"
        )
    if targets.shape != (len(inputs),):
        raise DataError(
            f"{source.name}: {name} has {len(inputs)} inputs but targets of shape {targets.shape}"
        )
    if is_features:
        inputs = inputs.astype(numpy.float32)[:, :, None, None]
    if numpy.issubdtype(targets.dtype, numpy.floating):
        targets = targets.astype(numpy.float32)
    elif numpy.issubdtype(targets.dtype, numpy.integer):
        targets = targets.astype(numpy.int64)
    else:
        raise DataError(f"{source.name}: targets of {name} must be numbers but are {targets.dtype}")
    for what, array in (("inputs", inputs), ("targets", targets)):
        if not numpy.isfinite(array).all():
            raise DataError(f"{source.name}: {what} of {name} must be finite numbers")
    return inputs, targets


def _require_alike(source: PluginData, parts: Mapping[str, tuple[Array, Array]]) -> None:
    kinds = {
        name: (inputs.shape[1:], inputs.dtype, targets.dtype)
        for name, (inputs, targets) in parts.items()
    }
    if len({*kinds.values()}) > 1:
        raise DataError(
            f"{source.name}: train and test must have inputs of one shape and targets of one kind, but are "
            f"{' and '.join(map(str, kinds.values()))}"
        )


def _read_classes(
    source: PluginData, given: Mapping[str, Any], parts: Mapping[str, tuple[Array, Array]]
) -> tuple[str, ...]:
    """Empty where targets are values."""
    targets = [one for _, one in parts.values()]
    if numpy.issubdtype(targets[0].dtype, numpy.floating):
        return ()
    most = max((int(one.max()) for one in targets if len(one)), default=-1)
    classes = _read_names(source, given.get("classes", range(most + 1)))
    for name, value in _outside(parts, len(classes)):
        raise DataError(
            f"{source.name}: {name} has the label {value}, but there are {len(classes)} classes, counted from 0"
        )
    return classes


def _read_names(source: PluginData, given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(
            f"{source.name}: classes must be a list of names but is a {type(given).__name__}"
        )
    names = tuple(map(str, given))
    for name in names:
        if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            raise DataError(
                f"{source.name}: a class must have a name of 1 to {_LONGEST_NAME} printable characters but has "
                f"{name[:_LONGEST_NAME]!r}"
            )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{source.name}: several classes are called {repeated[0]!r}")
    return names


def _outside(parts: Mapping[str, tuple[Array, Array]], count: int) -> Iterator[tuple[str, int]]:
    for name, (_, targets) in parts.items():
        for value in targets[(targets < 0) | (targets >= count)][:1]:
            yield name, int(value)
