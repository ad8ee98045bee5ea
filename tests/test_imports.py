"""What the API and the command don't import before they need it: each module here costs every start."""

import subprocess
import sys

import pytest

_HEAVY = {"torch", "mlflow", "matplotlib", "pandas", "alembic", "scipy", "optuna"}
#: The most modules that an import may bring; a few more than when this was written.
_MOST = {"api": 1445, "command": 460}


@pytest.mark.parametrize(
    ("name", "program", "unwanted"),
    [
        ("api", "import api.app", _HEAVY | {"redis", "httpx"}),
        (
            "command",
            "import sys, normlab.cli; sys.argv[1:] = ['--help']\n"
            "try: normlab.cli.main()\nexcept SystemExit: pass",
            _HEAVY | {"sqlalchemy", "pydantic", "fastapi", "numpy", "yaml", "asyncio", "httpx"},
        ),
    ],
)
def test_only_what_a_start_needs_is_imported(name: str, program: str, unwanted: set[str]) -> None:
    program += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = done.stderr.split()
    assert not unwanted & set(modules)
    assert len(modules) <= _MOST[name]
