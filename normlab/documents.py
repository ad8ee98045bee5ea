"""What a person hands in as a job or a study, on its way to the service. Knows no field of it but one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normlab.errors import NormlabError


def read_input(document: Path | str | Mapping[str, Any]) -> tuple[bytes, str, bool]:
    """The bytes to send, their media type, and whether they mean a study (it has variants)."""
    if isinstance(document, Mapping):
        return json.dumps(document).encode(), "application/json", "variants" in document
    text, kind = str(document), "application/yaml"
    if isinstance(document, str) and ("\n" in text or text.lstrip().startswith("{")):
        content = text.encode()
    else:
        try:
            content = Path(document).expanduser().read_bytes()
        except OSError as error:
            raise NormlabError(f"{document} cannot be read: {error.strerror}") from error
        kind = "application/json" if Path(document).suffix.lower() == ".json" else kind
    return content, kind, _is_study(content, kind)


def _is_study(content: bytes, kind: str) -> bool:
    """What cannot be read here is left for the service to refuse in words."""
    import yaml

    try:
        if kind == "application/json":
            found = json.loads(content)
        else:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            found = yaml.load(content, Loader=loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(found, Mapping) and "variants" in found
