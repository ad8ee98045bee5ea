"""A folder for packages of plugins."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.plugins import loading


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`lab-nets` may be used, once it is there."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("NORMLAB_PLUGINS", "lab-nets")
    monkeypatch.setattr(loading, "_loaded", {})
    yield folder
    for name in [name for name in sys.modules if name.startswith("lab_")]:
        del sys.modules[name]
