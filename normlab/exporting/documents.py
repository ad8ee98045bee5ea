"""The documents of an export: specs as YAML, and the README.md that says what is what."""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def spec_as_yaml(spec: Mapping[str, Any], comment: str) -> bytes:
    """A spec that `normlab submit` accepts, with a first line that says what it is of."""
    # Only here: most verbs of the command write no YAML.
    import yaml

    from runtime.documents import read_document

    text = yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True, width=100)
    # PyYAML writes by rules that are older than those by which we read: `1e5` as a text needs quotes, and gets none.
    # JSON is YAML, too, and has no such texts.
    if read_document(text) != spec:
        text = json.dumps(spec, indent=2, ensure_ascii=False) + "\n"
    return f"# {comment}\n{text}".encode()


def folder_of_study(study: Mapping[str, Any]) -> str:
    """`studies/s3-norms-on-digits`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", study["name"]).strip("-.")[:60]
    return f"studies/s{study['id']}-{name}" if name else f"studies/s{study['id']}"


def folder_of_job(job: Mapping[str, Any]) -> str:
    return f"jobs/j{job['id']}"


def readme() -> bytes:
    return files("normlab.exporting").joinpath("README.md").read_bytes()
