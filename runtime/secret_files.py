"""`python -m runtime.secret_files COMMAND …`: runs a command whose secrets stand in files.

A variable NORMLAB_…_FILE or POSTGRES_PASSWORD_FILE names a file, and the variable without `_FILE` gets its content, as
in PostgreSQL's image. In a URL, `{NORMLAB_API_DATABASE_PASSWORD}` stands for a secret, percent-encoded. What describes a
container (`docker inspect`, the compose file, `.env`) then has names of files only.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

_FILE = re.compile(r"((?:NORMLAB_\w+|POSTGRES_PASSWORD))_FILE")
_PLACE = re.compile(r"\{([A-Z_]+)\}")


class SecretRefused(Exception):
    """A secret can't be read, or is not known."""


def read_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the secrets in it, and without the names of their files. Raises SecretRefused."""
    files = {
        match[1]: environment[match[0]] for match in map(_FILE.fullmatch, environment) if match
    }
    rest = {name: value for name, value in environment.items() if not _FILE.fullmatch(name)}
    secrets = {name: _read(name, file) for name, file in files.items() if file}
    urls = {
        name: _fill(name, value, secrets)
        for name, value in rest.items()
        if "://" in value and _PLACE.search(value)
    }
    return rest | secrets | urls


def _read(name: str, file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretRefused(f"{name}_FILE names {file}, which can't be read: {error}") from None


def _fill(name: str, url: str, secrets: Mapping[str, str]) -> str:
    def secret(match: re.Match[str]) -> str:
        if not (value := secrets.get(match[1])):
            raise SecretRefused(f"{name} needs {match[1]}, which {match[1]}_FILE doesn't give")
        return quote(value, safe="")

    return _PLACE.sub(secret, url)


def main(command: list[str]) -> None:
    try:
        environment = read_secrets(os.environ)
        os.execvpe(command[0], command, environment)  # noqa: S606 - no shell on purpose
    except SecretRefused as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{command[0]} can't be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
