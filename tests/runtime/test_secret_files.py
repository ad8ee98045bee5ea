"""Secrets that stand in files are read before a command runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.secret_files import SecretRefused, read_secrets


def test_a_url_gets_the_secret_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a/b@c\n")
    found = read_secrets(
        {
            "NORMLAB_API_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
            "NORMLAB_DATABASE_URL": "postgresql://api:{NORMLAB_API_DATABASE_PASSWORD}@db/normlab",
            "NORMLAB_HOST_NAME": "worker-{n}",
            "AWS_SHARED_CREDENTIALS_FILE": "as it is",
        }
    )
    assert found == {
        "NORMLAB_API_DATABASE_PASSWORD": "a/b@c",
        "NORMLAB_DATABASE_URL": "postgresql://api:a%2Fb%40c@db/normlab",
        "NORMLAB_HOST_NAME": "worker-{n}",
        "AWS_SHARED_CREDENTIALS_FILE": "as it is",
    }


def test_a_secret_that_no_file_gives_is_named() -> None:
    with pytest.raises(SecretRefused, match="NORMLAB_DATABASE_URL needs POSTGRES_PASSWORD, which"):
        read_secrets({"NORMLAB_DATABASE_URL": "postgresql://normlab:{POSTGRES_PASSWORD}@db"})


def test_a_command_runs_with_its_secrets_and_not_without_them(tmp_path: Path) -> None:
    file = tmp_path / "token"
    command = (sys.executable, "-c", "import os; print(os.environ['NORMLAB_TOKEN'])")
    runs = []
    for _ in range(2):
        runs.append(
            subprocess.run(
                [sys.executable, "-m", "runtime.secret_files", *command],
                env=os.environ | {"NORMLAB_TOKEN_FILE": str(file)},
                capture_output=True,
                text=True,
                check=False,
            )
        )
        file.write_text("nl_secret\n")
    refused, ran = runs
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"NORMLAB_TOKEN_FILE names {file}, which can't be read: ")
    assert ran.stdout == "nl_secret\n"
