"""Where two documents differ."""

from studies.spec import Difference, list_differences


def test_values_differ_by_their_paths_and_lists_as_a_whole() -> None:
    one = {"norm": {"kind": "none"}, "lr": 0.1, "regularization": [], "seed": 1}
    other = {"norm": {"kind": "group", "groups": 4}, "lr": 0.1, "regularization": [{"p": 0.2}], "seed": 1}  # fmt: skip
    assert list_differences(one, other) == [
        Difference("norm.groups", None, 4),
        Difference("norm.kind", "none", "group"),
        Difference("regularization", [], [{"p": 0.2}]),
    ]


def test_equal_documents_have_no_differences() -> None:
    assert list_differences({"a": {"b": [1]}}, {"a": {"b": [1]}}) == []
