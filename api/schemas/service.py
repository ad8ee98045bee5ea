"""Schemas of datasets, workers, devices, the storage, users and tokens."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from api.schemas.jobs import View
from store.db import AuditRecord, Reservation, Token
from store.hosts import Stored, host_views
from trainer.spec import DatasetInfo, DatasetSource, Duration, Name, Part

Role = Literal["admin", "member", "viewer"]
#: What a token may be used for: all that its user may do, or only to read, as a viewer.
Scope = Annotated[
    Literal["all", "read"],
    Field(description="`read`: it may only read, as a viewer's, whatever its user's role"),
]


class NewDataset(Part):
    """A dataset to register: a worker decodes it once."""

    name: Name
    source: DatasetSource


class DatasetView(View):
    """A dataset that jobs may name once it is ready."""

    name: str
    owner: str | None
    status: Literal["registering", "ready", "failed"]
    source: dict[str, Any]
    info: DatasetInfo | None
    error: str | None
    job_id: Annotated[int | None, Field(description="the job that decodes it")]
    created_at: datetime


class ShortageView(View):
    """A folder of a host without enough room for jobs."""

    folder: str
    free_bytes: int
    needed_bytes: int
    detail: str


class DeviceMemoryView(View):
    """A GPU's memory: jobs run side by side as far as what they book fits beside what others use."""

    total_bytes: int
    booked_bytes: Annotated[int, Field(description="by running jobs; one without a booking: all")]
    foreign_bytes: Annotated[int, Field(description="used by processes that are not Normlab's")]
    free_bytes: Annotated[int, Field(description="neither booked nor used by others")]


class GpuView(View):
    """A GPU of a host whose memory is measured."""

    number: int
    name: str
    memory: DeviceMemoryView


class WorkerView(View):
    """A host's worker."""

    host: str
    process: int
    started_at: datetime
    seen_at: datetime
    draining: bool
    alive: Annotated[bool, Field(description="whether it was seen recently")]
    slots: int
    busy: int
    claims: Annotated[bool, Field(description="alive, and takes jobs when it has a free slot")]
    shortage: Annotated[
        ShortageView | None, Field(description="missing disk space, for which it takes no jobs")
    ]
    held_until: Annotated[
        datetime | None,
        Field(description="it takes no jobs until then, because its disk ran full during a job"),
    ]
    clock_ahead_seconds: Annotated[
        float | None,
        Field(description="how far its clock is ahead of the database's; negative: behind"),
    ]
    versions: Annotated[dict[str, str], Field(description="of the libraries that it trains with")]
    problems: Annotated[
        list[str],
        Field(description="what keeps it from taking jobs and other problems, one sentence each"),
    ]
    gpus: Annotated[list[GpuView], Field(description="those whose memory is measured")]


class HeldView(View):
    """A slot in use; its lease expires at `expires_at` unless renewed."""

    slot: int
    job_id: Annotated[
        int | None,
        Field(description="null: a job of a private project that the reader may not read"),
    ]
    job_name: str
    attempt: int
    expires_at: datetime
    booked_bytes: Annotated[
        int | None,
        Field(description="of the memory of its GPU; null: all of it, or it is not measured"),
    ]

    @classmethod
    def of(cls, held: host_views.Held, hidden: Collection[int]) -> Self:
        """`hidden`: the projects that the reader may not read."""
        view = cls.model_validate(held)
        if held.project_id not in hidden:
            return view
        said = {"job_id": None, "job_name": describe_private(held.owner)}
        return view.model_copy(update=said)


class DeviceView(View):
    """A device and what runs on it."""

    host: str
    kind: Literal["cpu", "cuda"]
    number: int
    name: str
    slots: int
    held: list[HeldView]
    reserved: Annotated[str | None, Field(description="by whom and until when no job starts on it")]
    memory: Annotated[DeviceMemoryView | None, Field(description="null: it is not measured")]

    @classmethod
    def of(cls, device: host_views.DeviceView, hidden: Collection[int]) -> Self:
        view = cls.model_validate(device)
        return view.model_copy(update={"held": [HeldView.of(one, hidden) for one in device.held]})


def describe_private(owner: str) -> str:
    """What is said of a job that the reader may not read, in place of its name."""
    return f"a private job of {owner}"


class OwnedView(View):
    """What a person's jobs and studies take of the storage."""

    user: str
    checkpoint_bytes: int
    file_bytes: Annotated[int, Field(description="files of jobs; reports and figures of studies")]
    limit_bytes: Annotated[int | None, Field(description="null: no limit")]


class DiskView(View):
    """Who uses the storage, those with most first, and what could be removed from it."""

    items: list[OwnedView]
    removable: Annotated["RemovedView", Field(description="what `POST /gc` would remove")]


class GcRequest(Part):
    """Which checkpoints to remove: those that ended jobs would resume from; the best one of each job stays."""

    older_than: Annotated[
        Duration | None,
        Field(
            description="since the job's end; seconds, or like 90s, 30m, 2h, 1d; null: as long as the sweep keeps them"
        ),
    ] = None
    dry_run: Annotated[bool, Field(strict=True)] = False


class RemovedView(View):
    """Checkpoints, and their bytes together."""

    checkpoints: int
    bytes: int

    @classmethod
    def of(cls, stored: Stored) -> Self:
        return cls(checkpoints=stored.count, bytes=stored.bytes)


class NewReservation(Part):
    """A device, or without `kind` and `number` a whole host, on which no job shall start for a time."""

    host: Annotated[str, Field(min_length=1, max_length=255)]
    kind: Literal["cpu", "cuda"] | None = None
    number: Annotated[int, Field(strict=True, ge=0, le=10_000)] | None = None
    lasts: Annotated[Duration, Field(description="seconds, or like 90s, 30m, 2h, 1d")]
    why: Annotated[str, Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _is_device_or_host(self) -> Self:
        if (self.kind is None) != (self.number is None):
            raise ValueError("a device has both kind and number; a whole host has neither")
        return self


class ReservationView(View):
    """A device, or a whole host, on which no job starts until `ends_at`; what runs goes on."""

    id: int
    host: str
    kind: Literal["cpu", "cuda"] | None
    number: int | None
    owner: str
    why: str
    created_at: datetime
    ends_at: datetime

    @classmethod
    def of(cls, row: Reservation) -> Self:
        return cls(
            id=row.id,
            host=row.host,
            kind=row.kind,
            number=row.number,
            owner=row.owner.name,
            why=row.why,
            created_at=row.created_at,
            ends_at=row.ends_at,
        )


class UserView(View):
    """A user."""

    id: int
    name: str
    role: Role
    weight: Annotated[
        float, Field(description="twice the weight is twice the share of the machines")
    ]
    created_at: datetime
    disabled_at: datetime | None


class ChangedUserView(UserView):
    """A user as changed, and what nobody can do any more."""

    unmanaged_projects: Annotated[
        list[str],
        Field(
            description="private projects of which they are an admin and that no admin of their own can manage now; an "
            "admin of the service names another with PUT /projects/{name}/members/{person}"
        ),
    ]


class AuditView(View):
    """One change, and who made it."""

    at: datetime
    user: Annotated[str, Field(description="who made the change")]
    token_id: Annotated[int | None, Field(description="of the request, or of its login")]
    token: Annotated[str | None, Field(description="the token's name")]
    action: str
    subject: Annotated[str, Field(description="what was changed")]
    detail: Annotated[dict[str, Any], Field(description="the new values, as far as there are any")]

    @classmethod
    def of(cls, row: AuditRecord) -> Self:
        return cls(
            at=row.at,
            user=row.user.name,
            token_id=row.token_id,
            token=row.token.name if row.token else None,
            action=row.action,
            subject=row.subject,
            detail=row.detail,
        )


class NewUser(Part):
    """A user to create."""

    name: Name
    role: Role = "member"


class UserChange(Part):
    """Changes to a user; omitted fields are unchanged."""

    role: Role | None = None
    disabled: Annotated[bool | None, Field(strict=True)] = None
    weight: Annotated[
        float | None,
        Field(
            strict=True,
            ge=0.001,
            le=1000,
            description="twice the weight is twice the share of the machines",
        ),
    ] = None
    login: Annotated[
        str | None,
        Field(
            strict=True,
            min_length=1,
            max_length=255,
            description="who opens this account when they log in at the identity provider: their subject there (`sub`), "
            "in addition to those before; null: nobody does any more, and the tokens made with such a login are revoked",
        ),
    ] = None


class TokenView(View):
    """A bearer token; its secret is shown only once, when it is created."""

    id: int
    user: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    parent_id: Annotated[int | None, Field(description="the token it was created with")]

    @classmethod
    def of(cls, token: Token) -> Self:
        columns = {name: getattr(token, name) for name in cls.model_fields if name != "user"}
        return cls(**columns, user=token.user.name)


class NewToken(Part):
    """A token to create."""

    name: Annotated[str, Field(min_length=1, max_length=100, description="where it will be used")]
    user: Annotated[
        Name | None,
        Field(description="owner of the token (admins only); default: the current user"),
    ] = None
    scope: Scope = "all"
    expires_at: Annotated[
        AwareDatetime | None,
        Field(
            description="no later than the token of the request; null: when that one expires, or never"
        ),
    ] = None


class SecretView(TokenView):
    """A new token with its secret, which cannot be read again."""

    secret: str
