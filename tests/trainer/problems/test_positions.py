"""A JSON pointer leads to a line and a column of the text that was written."""

import json

import pytest

from trainer.problems.positions import Place, PlaceFinder

YAML = """\
a: 1
b:
  - x
  - {c: 2, d: {e: f}}
base: &base {q: 1}
variants:
  none:
    <<: *base
    z: 3
  again: *base
"d/e": "x"
"""
JSON = '{"a": 1,\n\t"b": ["x", {"c": "}", "d": {"e": null}}],\n "d/e": {"f": "\\ud83d\\ude00", "g": 2}}'


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("text", "pointer", "place"),
    [
        (YAML, "/a", (1, 1)),
        (YAML, "/b", (2, 1)),
        (YAML, "/b/0", (3, 5)),
        (YAML, "/b/1/d/e", (4, 16)),
        (YAML, "/variants/none/z", (9, 5)),
        (YAML, "/d~1e", (11, 1)),
        (JSON, "/a", (1, 2)),
        (JSON, "/b", (2, 2)),
        (JSON, "/b/1", (2, 13)),
        (JSON, "/b/1/d/e", (2, 30)),
        (JSON, "/d~1e/g", (3, 31)),
    ],
)
def test_a_pointer_leads_to_its_key_or_item(
    text: str, pointer: str, place: tuple[int, int], mark: str
) -> None:
    assert PlaceFinder((mark + text).encode()).find(pointer) == Place(*place)


@pytest.mark.parametrize(
    ("text", "pointer", "place"),
    [
        (YAML, "/b/1/d/missing", (4, 12)),
        (YAML, "/b/7", (2, 1)),
        (JSON, "/b/1/d/missing", (2, 24)),
        (JSON, "/b/7", (2, 2)),
    ],
)
def test_what_is_missing_is_missed_where_it_should_stand(
    text: str, pointer: str, place: tuple[int, int]
) -> None:
    assert PlaceFinder(text).find(pointer) == Place(*place)


@pytest.mark.parametrize("pointer", ["/variants/none/q", "/variants/again/q"])
def test_what_is_merged_or_aliased_is_found_where_it_is_written(pointer: str) -> None:
    assert PlaceFinder(YAML).find(pointer) == Place(5, 14)


@pytest.mark.parametrize("text", [b"", b"\xff", "a: [", '{"a": }', "a: &a [*a]\nb: x", "[" * 9000])
def test_no_text_is_too_broken_to_be_asked(text: str | bytes) -> None:
    assert PlaceFinder(text).find("/c/0") is None


def test_the_whole_document_has_no_place() -> None:
    assert PlaceFinder(YAML).find("") is None
    assert PlaceFinder(JSON).find("") is None


def test_every_member_of_a_study_in_json_is_found_in_any_layout() -> None:
    document = {"a": {"b": [1, {"c": [True, None, "x, y: {[]}"]}], "é\n": {}}, "d": []}
    for indent in (None, 1, "\t"):
        text = json.dumps(document, indent=indent)
        for pointer, key in (("/a/b/1/c", '"c"'), ("/a/b/1/c/2", '"x, y'), ("/d", '"d"')):
            place = PlaceFinder(text).find(pointer)
            assert place is not None
            line = text.split("\n")[place.line - 1]
            assert line[place.column - 1 :].startswith(key)
