"""`make` installs with a line that moves: what pip does, how long that has taken, and why it failed."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / ".ci" / "install.py"


def load() -> Any:
    specification = importlib.util.spec_from_file_location("install", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def install(tmp_path: Path, pip: str) -> "subprocess.CompletedProcess[str]":
    """A pip that behaves as the shell script says, in an environment of its own."""
    program = tmp_path / "venv" / "bin" / "pip"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{pip}\n")
    program.chmod(0o755)
    return subprocess.run(
        [sys.executable, "-S", str(SCRIPT), str(tmp_path / "log"), str(program)],
        check=False,
        capture_output=True,
        text=True,
    )


def test_each_step_of_pip_is_said_with_the_time_that_passed(tmp_path: Path) -> None:
    progress = load().Progress(tmp_path)
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    (site / "old.dist-info").mkdir(parents=True)
    (site / "old.dist-info" / "INSTALLER").touch()
    assert progress.describe(0.9) == "  0:00  starting"
    progress.read("Collecting torch==2.14.1 (from normlab==0.1.0)\n")
    assert progress.describe(62) == "  1:02  1 packages, looking for torch==2.14.1"
    progress.read("  Downloading https://somewhere/torch-2.14.1-cp311.whl (800.5 MB)\n")
    assert progress.describe(125) == "  2:05  1 packages, fetching torch (800.5 MB)"
    progress.read("Installing collected packages: torch, timm\n")
    assert progress.describe(126) == "  2:06  installed 0 of 2 packages"
    (site / "torch.dist-info").mkdir()
    assert progress.describe(127) == "  2:07  installed 0 of 2 packages"
    (site / "torch.dist-info" / "INSTALLER").touch()
    assert progress.describe(240) == "  4:00  installed 1 of 2 packages"


def test_what_pip_says_is_kept_in_a_log_and_piped_lines_stay_plain(tmp_path: Path) -> None:
    done = install(tmp_path, 'echo "Collecting torch"')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("  installed in ")
    assert "\r" not in done.stdout
    assert (tmp_path / "log").read_text() == "Collecting torch\n"


def test_a_failed_installation_ends_with_pips_last_words(tmp_path: Path) -> None:
    done = install(tmp_path, 'echo "ERROR: no space left on device" >&2; exit 3')
    assert done.returncode == 3
    assert "ERROR: no space left on device" in done.stderr
    assert f"exit status 3); all of it: {tmp_path / 'log'}" in done.stderr


def test_only_what_came_with_this_step_is_compiled(tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for package in ("before", "new", "new/tests"):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").touch()
    began = (site / "new").stat().st_ctime
    while (site / "before").stat().st_ctime >= began:
        (site / "new" / "later").touch()
        began = (site / "new").stat().st_ctime
    load().compile_packages(tmp_path / "venv", began)
    compiled = {path.parent.parent.name for path in site.rglob("*.pyc")}
    assert compiled == {"new"}
