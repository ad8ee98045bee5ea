"""Checkpoints as safetensors files: `python -m trainer.conversion` converts what the lines of its input name.

Each line is a JSON object with `source`, `target` and `metadata`, and is answered by a line, `{"tensors": 12}` or
`{"error": "..."}`. It is a process of its own because whoever asks for it (`normlab export`) loads no torch.
"""

import json
import pickle
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

#: Of the metadata: how the tensors of a nested value belong together, and which of them were one and the same.
STRUCTURE, TIED = "normlab.structure", "normlab.tied"


def main() -> None:
    # It only copies.
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_answer(request)), flush=True)  # noqa: T201 - this is its answer


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        tensors = convert(Path(request["source"]), Path(request["target"]), request["metadata"])
    # What torch raises for a damaged file depends on where the damage is.
    except (
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        return {"error": str(error).partition("\n")[0] or type(error).__name__}
    except pickle.UnpicklingError as error:
        return {"error": f"it holds more than tensors and plain values ({error!s:.200})"}
    return {"tensors": tensors}


def convert(source: Path, target: Path, metadata: Mapping[str, str]) -> int:
    """Writes a checkpoint's tensors, each as it is, and returns how many there are.

    A state dict's tensors keep their names. Those of other values are named by their path, `state/optimizer/0/step`,
    and `normlab.structure` says how to put them together: `{"dict": [[key, node], ...]}`, `{"list": [node, ...]}`,
    `{"tuple": [node, ...]}`, `{"tensor": name}`, `{"float": "0.5"}` or `{"value": ...}`. Tensors that share their
    memory, such as tied weights, are written once for each name; `normlab.tied` lists the names.
    """
    # `weights_only` refuses pickled code, and a mapped file is read only once.
    value = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    tensors: dict[str, Tensor] = {}
    structure = _take_apart(value, "", tensors)
    said = {"format": "pt", **metadata}
    if not _is_state_dict(value):
        said[STRUCTURE] = json.dumps(structure)
    if tied := _find_tied(tensors):
        said[TIED] = json.dumps(tied)
    save_file(_laid_out(tensors), target, metadata=said)
    return len(tensors)


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(part, Tensor) for part in value.values())


def _take_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Its structure; the tensors are added by their names. Raises TypeError for what has no place in it."""
    match value:
        case Tensor():
            if name in tensors:
                raise ValueError(f"two tensors are called {name!r}")
            tensors[name] = value
            return {"tensor": name}
        case dict():
            named = [(_check_key(key), part) for key, part in value.items()]
            parts = [[key, _take_apart(part, _join(name, key), tensors)] for key, part in named]
            return {"dict": parts}
        case list() | tuple():
            kind = "list" if isinstance(value, list) else "tuple"
            items = enumerate(value)
            return {kind: [_take_apart(part, _join(name, at), tensors) for at, part in items]}
        case float():
            # JSON has no NaN; the text of all others is exact as well.
            return {"float": repr(value)}
        case None | bool() | int() | str():
            return {"value": value}
        case _:
            raise TypeError(f"{name or 'it'} is a {type(value).__name__}, which cannot be written")


def _check_key(key: Any) -> str | int:
    if isinstance(key, str) or type(key) is int:
        return key
    raise TypeError(f"the key {key!r} is neither text nor a whole number")


def _join(name: str, key: str | int) -> str:
    return f"{name}/{key}" if name else str(key)


def _find_tied(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of the same elements in memory."""
    names: dict[Any, list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        if tensor.numel():
            place = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
            names[place].append(name)
    return [same for same in names.values() if len(same) > 1]


def _laid_out(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Row by row, as the format has them; no two of them in the same memory, which it refuses."""
    laid_out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        laid_out[name] = (
            tensor.clone(memory_format=torch.contiguous_format)
            if place in seen
            else tensor.contiguous()
        )
        seen.add(place)
    return laid_out


if __name__ == "__main__":
    main()
