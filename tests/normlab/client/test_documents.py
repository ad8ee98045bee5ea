"""The command reads documents as the service does: valid inputs that people really have."""

import json
from pathlib import Path
from typing import Any

import pytest

from normlab.cli.datasets import _augmentation, read_source
from normlab.client.documents import read_input
from normlab.errors import NormlabError
from runtime.documents import read_document
from studies.spec.expand import expand
from studies.spec.study import read_study
from trainer.spec.preview import Preview

STUDY = """\
project: cases
name: %s
description: %s
base:
  dataset: {name: digits}
  model: {name: mlp}
variants:
  a: {norm: {kind: none}}
  b: {norm: {kind: batch}}
seeds: 1
"""


@pytest.mark.parametrize(
    ("name", "description"), [("eq", "="), ("2026-28-11", "12:30"), ("0o17", "no"), ("1_0", "<<")]
)
def test_text_that_older_rules_take_for_something_else_is_text_on_both_sides(
    tmp_path: Path, name: str, description: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY % (name, description))
    given = read_input(file)
    assert given.is_study
    study = read_study(read_document(given.content))
    assert (study.name, study.description) == (name, description)
    assert len(expand(study)) == 2


def test_a_source_has_numbers_as_specs_write_them(tmp_path: Path) -> None:
    file = tmp_path / "source.yaml"
    file.write_text("kind: generated\ngenerator: moons\nsize: 500\nnoise: 1e-1\n")
    assert read_source(str(file), {})["noise"] == 0.1


def test_a_preview_has_numbers_as_specs_write_them(tmp_path: Path) -> None:
    file = tmp_path / "preview.yaml"
    file.write_text(
        "dataset: {name: digits}\naugmentation:\n"
        "  - {kind: rotate, degrees: 1e1}\n  - {kind: shift, fraction: 5e-2}\n"
    )
    rotate, shift = Preview.model_validate(_augmentation(file)).augmentation
    assert rotate.model_dump() == {"kind": "rotate", "degrees": 10.0}
    assert shift.model_dump() == {"kind": "shift", "fraction": 0.05}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_byte_order_mark_is_no_part_of_a_document(tmp_path: Path, suffix: str) -> None:
    document = {"name": "bom", "variants": {"a": {"norm": {"kind": "none"}}}}
    file = tmp_path / f"bom.{suffix}"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(document).encode())
    given = read_input(file)
    assert given.is_study
    assert read_document(given.content, as_json=suffix == "json") == document


@pytest.mark.parametrize(
    "document",
    [
        {"a": [1, 2.5, 1e-1, None, True], "b": {"c": "no", "d": "="}},
        {"emoji": "\U0001f600", "slash": "a/b", "long": "k" * 2000, "k" * 2000: 1},
    ],
)
@pytest.mark.parametrize("indent", [None, "\t"])
def test_json_is_a_part_of_yaml(document: Any, indent: str | None) -> None:
    text = json.dumps(document, indent=indent)
    assert read_document(text) == read_document(text, as_json=True) == document


def test_a_file_that_holds_no_mapping_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "source.yaml"
    file.write_text("- parquet")
    with pytest.raises(NormlabError, match=r"source\.yaml must contain a source"):
        read_source(str(file), {})
