"""Limits of roles and people on the page for admins: all of them in a table, and those of one in a form to change them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy.orm import Session

from store.accounts import users
from store.db import ROLES, User
from store.hosts import describe_bytes
from store.jobs import Limits, limits
from trainer.spec import describe_duration

#: What each is called, and an example of what may be typed for it.
NAMES: Mapping[str, tuple[str, str]] = {
    "running": ("Running jobs", "4"),
    "queued": ("Waiting jobs", "100"),
    "device_seconds_per_day": ("Device time a day", "8h"),
    "timeout_seconds": ("Training time of a job", "2h"),
    "disk_bytes": ("Checkpoints and files", "20GB"),
}


@dataclass(frozen=True, slots=True)
class LimitsRow:
    """`key`: in the address of the page, and of what changes them. `person`: None for a role; `values`: in words."""

    key: str
    name: str
    person: User | None
    values: Sequence[str]
    limits: Limits

    @property
    def address(self) -> str:
        kind, _, name = self.key.partition("/")
        return f"/api/v1/limits/{kind}/{quote(name, safe='')}"

    def typed(self, name: str) -> str:
        """As it is typed: `8h`, `20GB`; nothing where there is no limit."""
        value = getattr(self.limits, name)
        if value is None:
            return ""
        units = {"device_seconds_per_day": _TIMES, "timeout_seconds": _TIMES, "disk_bytes": _SIZES}
        for unit, size in units.get(name, {}).items():
            if value and value % size == 0:
                return f"{value / size:.0f}{unit}"
        return f"{value:g}" if isinstance(value, float) else str(value)


_TIMES = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SIZES = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}


def read_rows(session: Session, people: Sequence[User]) -> Sequence[LimitsRow]:
    """Of every role, and of the people who have limits of their own."""
    of_roles, of_people = limits.of_roles(session), limits.of_people(session)
    roles = [_make_row(f"roles/{role}", None, of_roles[role]) for role in ROLES]
    own = [
        _make_row(f"users/{one.name}", one, of_people[one.name])
        for one in people
        if one.name in of_people
    ]
    return [*roles, *own]


def find_row(session: Session, rows: Sequence[LimitsRow], key: str | None) -> LimitsRow | None:
    """The one to change; a person without limits of their own has a row without any. None for nobody."""
    if key is None:
        return None
    row = next((one for one in rows if one.key == key), None)
    kind, _, name = key.partition("/")
    person = users.find(session, name) if row is None and kind == "users" else None
    return row if person is None else _make_row(key, person, Limits())


def _make_row(key: str, person: User | None, own: Limits) -> LimitsRow:
    name = key.partition("/")[2]
    title = name if person is not None else f"every {name}"
    return LimitsRow(key, title, person, tuple(_describe(own)), own)


def _describe(own: Limits) -> Iterator[str]:
    times = (own.device_seconds_per_day, own.timeout_seconds)
    yield from ("–" if one is None else str(one) for one in (own.running, own.queued))
    yield from ("–" if one is None else describe_duration(one) for one in times)
    yield "–" if own.disk_bytes is None else describe_bytes(own.disk_bytes)
    yield own.priority or "–"
