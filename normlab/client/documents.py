"""Documents to submit, read as the service reads them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.errors import NormlabError, Unreadable

_JSON, _YAML = "application/json", "application/yaml"


@dataclass(frozen=True, slots=True)
class Document:
    """A job or a study on its way to the service; it is a study if it has variants, or a base for them.

    `name` is what messages call it; None for a mapping, which has no lines.
    """

    content: bytes
    media_type: str
    is_study: bool
    name: str | None


def read_input(document: Path | str | Mapping[str, Any]) -> Document:
    """A file, YAML or JSON text, or a mapping; raises Unreadable."""
    if isinstance(document, Mapping):
        return Document(json.dumps(document).encode(), _JSON, _is_study(document), None)
    # A path holds no line break and doesn't begin with a brace; anything else is taken for a path, so that its
    # error names the file.
    if isinstance(document, str) and ("\n" in document or document.lstrip().startswith("{")):
        content, name = document.encode(), "<text>"
    else:
        content, name = _read_bytes(Path(document).expanduser()), str(document)
    media_type = _JSON if name.lower().endswith(".json") else _YAML
    value = _read(content, name, as_json=media_type == _JSON)
    return Document(content, media_type, _is_study(value), name)


def _is_study(value: Any) -> bool:
    """As the service decides it."""
    return isinstance(value, Mapping) and ("variants" in value or "base" in value)


def read_mapping(file: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; raises Unreadable, or NormlabError where it holds no mapping: `what` says which."""
    value = _read(_read_bytes(file), str(file))
    if not isinstance(value, dict):
        raise NormlabError(f"{file} must contain {what}")
    return value


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from error


def _read(content: bytes, name: str, *, as_json: bool = False) -> Any:
    # Only here: help is printed without a reader of YAML.
    from runtime.documents import DocumentError, read_document

    try:
        return read_document(content, as_json=as_json)
    except DocumentError as error:
        raise Unreadable(f"{name}: {error}") from error
