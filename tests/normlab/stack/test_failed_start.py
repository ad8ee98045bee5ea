"""A stack that can't start says why, and nothing of it goes on running."""

from pathlib import Path

from normlab.accounts import socket_folder
from tests.support.stack import make_installation


def test_a_failed_start_shows_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'migrations' in sys.orig_argv:\n    sys.exit('no such revision')\n"
    )
    broken = make_installation(tmp_path / "home")
    done = broken.run("up", "-d", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "`migrations` failed" in done.stderr
    assert "no such revision" in done.stderr
    assert broken.processes() == []
    assert not socket_folder(broken.home).exists()
