"""The peers' virtual environments: made once, outside of the repository, from pinned requirements.

Torch is that of the environment which Normlab runs in, reached through a `.pth` file: the arithmetic is the
same for all, and its five gigabytes lie on the disk once. What a peer's requirements name comes first.
"""

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.harness.progress import say

CACHE = Path("~/.cache/normlab-bench").expanduser()
PEERS = Path(__file__).parents[1] / "peers"


def peer_python(name: str) -> Path:
    """The interpreter of the environment with `bench/peers/<name>.txt`; installed where it is missing."""
    requirements = PEERS / f"{name}.txt"
    ours = sysconfig.get_path("purelib")
    parts = (requirements.read_text(), ours, sys.version)
    folder = CACHE / f"{name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        say(f"installing {requirements.name} into {folder}")
        _run(getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", folder)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "_normlab.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--requirement", requirements)  # fmt: skip
        (folder / "installed").touch()
    return python


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
