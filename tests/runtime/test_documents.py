"""Reading documents: the YAML that people write, and the answers to what is broken."""

import pytest

from runtime.documents import DocumentError, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("5.0E+3", 5000.0),
        ("no", "no"),
        ("on", "on"),
        ("2020-01-01", "2020-01-01"),
        ("010", 10),
        ("1:30", "1:30"),
        ("'5'", "5"),
        ("~", None),
        ("", None),
        ("true", True),
        ("-7", -7),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{none: {kind: none}}", {"none": {"kind": "none"}}),
        ("1: a", {"1": "a"}),
        ("a: &x {k: 1}\nb: *x", {"a": {"k": 1}, "b": {"k": 1}}),
        ("a: &x {k: 1}\nb: {<<: *x, l: 2}", {"a": {"k": 1}, "b": {"k": 1, "l": 2}}),
    ],
)
def test_yaml_reads_by_its_core_rules(text: str, value: object) -> None:
    assert read_document(text) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "line 1, column 5"),
        ("a: 1\na: 2", "'a' appears twice"),
        ("? [1]\n: 2", "a key must be text"),
        ("a: &x [*x]", "recursive"),
        ("!!python/object/apply:os.system [ls]", "tags are not allowed"),
        ("[" * 2000, "nested"),
        ("{a: " * 60 + "1" + "}" * 60, "nested more than 50"),
        ("a: " + "1" * 5000, "4300 digits"),
        (b"a: \xff", "not UTF-8 at byte 3"),
        ("a: !!timestamp x", "line 1, column 4: tags are not allowed"),
        ("a: !!timestamp 2020-01-01", "tags are not allowed"),
        ("a: !!binary YWJj", "tags are not allowed"),
        ("a: !!set {x, y}", "tags are not allowed"),
        ("a: !!pairs [x: 1]", "tags are not allowed"),
        ("a: !!bool maybe", "not a value: 'maybe'"),
        ("a: !!float ''", "not a value"),
    ],
)
def test_broken_yaml_is_named_with_its_place(text: str | bytes, complaint: str) -> None:
    with pytest.raises(DocumentError, match=complaint):
        read_document(text)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for name, inner in zip("bcdefg", "abcdef", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{inner}'] * 10)}]")
    with pytest.raises(DocumentError, match="more than 200000 values"):
        read_document("\n".join(lines))


def test_merges_that_multiply_are_refused() -> None:
    # Each is ten times the one before: two more would fill the memory.
    lines = ["a: &a {x: 1}"]
    for name, inner in zip("bcdefg", "abcdef", strict=True):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{inner}'] * 10)}]}}")
    with pytest.raises(DocumentError, match=r"merges .* of more than 200000 values"):
        read_document("\n".join(lines))


def test_aliases_that_nest_are_refused() -> None:
    # Each list is shallow where it is written.
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60))]
    with pytest.raises(DocumentError, match="nested more than 50 deep"):
        read_document("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": NaN}', "JSON has no NaN"),
        ('{"a": -Infinity}', "JSON has no -Infinity"),
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ('{"a":\n', "line 2, column 1"),
    ],
)
def test_json_is_read_strictly(text: str, complaint: str) -> None:
    with pytest.raises(DocumentError, match=complaint):
        read_document(text, as_json=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "line 1, column 5: a key can't stand here: check the indentation"),
        ("a: 1\n  b: 2", "line 2, column 4: a key can't stand here: check the indentation"),
        (
            "a:\n  b: 1\n c: 2",
            "line 3, column 2: this line's indentation does not match that of any line above",
        ),
        ("a:\n\tb: 1", "line 2, column 1: a tab: indent with spaces"),
        ("a:\n - [1, 2\n - 3", "the list that begins with [ in line 2 isn't closed by ]"),
        ("a:\n  b: {c: 1\nd: 2", "what begins with { in line 2 isn't closed by }"),
        ("a: 1\nb\nc: 2", "line 2 is neither a key with a colon nor part of a value"),
        ("a: 1\nb: 'x\nc: 2", "the quote that begins in line 2 isn't closed"),
        ("a: 'it's'", "something follows after the end of a value"),
        ("a: 1\n- b", "keys and items of a list ('- ') can't stand side by side"),
        ("a: %x", "a value can't begin with %: quote it"),
        ("a: *x", "there is no anchor &x: quote a value that begins with *"),
        ("a: !x y", "tags are not allowed: remove !x, or quote the value"),
        ("a: ]", "a value is missing before ]"),
        ("a: 1\n---\nb: 2", "line 2, column 1: a second document begins (---): write one"),
    ],
)
def test_what_is_wrong_with_yaml_is_said_in_words(text: str, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_document(text)
    assert said in str(caught.value)
