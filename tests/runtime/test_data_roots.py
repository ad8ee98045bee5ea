"""Paths of datasets: read under the data roots only, and refused by their own reason."""

import re
from pathlib import Path

import pytest

from runtime.data_roots import PathRefused, locate, resolve_inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True), (outside / "inside").mkdir(parents=True)
    (root / "file").touch()
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to(root / "pool")
    (root / "pool").symlink_to(root / "loop")
    (root / "dangling").symlink_to(root / "nothing")
    (outside / "loop").symlink_to(outside / "loop")
    (outside / "back").symlink_to(root)
    return root


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("ROOT/../outside", "is not a path under one of the data roots"),
        ("ROOT/../outside/loop", "is not a path under one of the data roots"),
        ("ROOT/real/../../outside", "is not a path under one of the data roots"),
        ("/etc", "is not a path under one of the data roots"),
        ("/" + "long" * 100, "is not a path under one of the data roots"),
        ("ROOT/out", "'ROOT/out' links to 'OUTSIDE', outside of the data roots (ROOT)"),
        ("ROOT/out/inside", "'ROOT/out' links to 'OUTSIDE', outside of the data roots (ROOT)"),
        ("ROOT/real/../out/..", "'ROOT/real/../out/..' is not a path under"),
        ("ROOT/loop", "'ROOT/loop' is a symbolic link that leads back to itself"),
        ("ROOT/loop/deeper", "'ROOT/loop/deeper' is a symbolic link that leads back to itself"),
        ("ROOT/with\0nul", "holds a character that no file name can hold"),
        ("ROOT/with\ud800surrogate", "holds a character that no file name can hold"),
        ("ROOT/" + "long" * 100, "is longer than a file name can be"),
        ("ROOT/" + "long/" * 1000, "is longer than a file name can be"),
    ],
)
def test_a_path_that_no_machine_may_read_is_refused_with_the_reason(
    root: Path, path: str, reason: str
) -> None:
    reason = reason.replace("ROOT", str(root)).replace("OUTSIDE", str(root.parent / "outside"))
    for judge in (resolve_inside, locate):
        with pytest.raises(PathRefused, match=re.escape(reason)):
            judge(path.replace("ROOT", str(root)), [root])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "'ROOT/missing' does not exist"),
        ("file/below", "'ROOT/file/below' does not exist"),
        ("dangling", "'ROOT/dangling' links to 'ROOT/nothing', which does not exist"),
    ],
)
def test_what_is_missing_under_a_root_is_not_called_outside(
    root: Path, path: str, reason: str
) -> None:
    assert resolve_inside(root / path, [root]).is_relative_to(root)
    for spelling in (path, root / path):
        with pytest.raises(PathRefused, match=re.escape(reason.replace("ROOT", str(root)))):
            locate(spelling, [root])


def test_paths_under_a_root_are_resolved(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "link").symlink_to(root / "real")
    (tmp_path / "alias").symlink_to(root)
    for path in ("real", root / "real", other / "link", root.parent / "outside" / "back" / "real"):
        assert locate(path, [other, root]) == root / "real"
    # A root may itself be a link.
    assert locate(tmp_path / "alias" / "real", [tmp_path / "alias"]) == root / "real"
    assert locate(root / "real", [tmp_path / "alias"]) == root / "real"


def test_without_roots_the_setting_is_named(root: Path) -> None:
    for path in ("real", root / "real"):
        with pytest.raises(PathRefused, match="no data root is configured"):
            locate(path, [])


def test_a_relative_path_counts_from_no_root_over_rest(root: Path) -> None:
    with pytest.raises(PathRefused, match="'real' is not a path under"):
        resolve_inside("real", [root])
