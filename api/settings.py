"""Settings of the API process, from the environment (NORMLAB_*)."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from api.processes import MOST_PLACES
from runtime.settings import MessageSettings, Seconds
from store.access import ProjectRole
from studies.rendering import MEGABYTES, SECONDS
from trainer.spec import NAME_PATTERN


@dataclass(frozen=True, slots=True)
class GroupRole:
    """Whoever is in this group at the identity provider has this role in the project."""

    group: str
    project: str
    role: ProjectRole

    @classmethod
    def read(cls, text: str) -> Self:
        """`group=project:role`. Raises ValueError."""
        group, _, grant = text.rpartition("=")
        project, _, role = grant.rpartition(":")
        if (
            not group
            or not re.fullmatch(NAME_PATTERN, project)
            or role not in get_args(ProjectRole)
        ):
            raise ValueError(
                f"must be like group=project:role, with a role of {', '.join(get_args(ProjectRole))}, but got {text!r}"
            )
        return cls(group, project, cast(ProjectRole, role))


class LoginSettings(MessageSettings):
    """Of logins at an identity provider that speaks OpenID Connect, if there is one."""

    oidc_issuer: Annotated[
        str | None, Field(description="the provider's address, exactly as it gives it itself")
    ] = None
    oidc_client_id: Annotated[str | None, Field(description="what the provider calls us")] = None
    oidc_client_secret: SecretStr | None = None
    oidc_name: Annotated[
        str, Field(min_length=1, max_length=60, description="of the provider, on the login page")
    ] = "OpenID Connect"
    oidc_scopes: Annotated[str, Field(description="separated by spaces")] = "openid profile email"
    oidc_user_claim: Annotated[
        str | None,
        Field(description="names a new account; default: preferred_username, else email"),
    ] = None
    oidc_email_domains: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="separated by commas: who has no verified address in one is refused"),
    ] = ()
    oidc_group: Annotated[str | None, Field(description="who isn't in it is refused")] = None
    oidc_group_claim: Annotated[str, Field(min_length=1, description="has a person's groups")] = (
        "groups"
    )
    oidc_project_roles: Annotated[
        tuple[GroupRole, ...],
        NoDecode,
        Field(
            description="group=project:role, separated by commas: whoever is in the group has the role in the project, "
            "from each login on"
        ),
    ] = ()
    # After those that it depends on.
    oidc_newcomers: Annotated[
        Literal["viewer", "member", "none"],
        Field(
            validate_default=True,
            description="the role of who logs in for the first time; none: they get no account; default: viewer if "
            "people must have an address in a domain or be in a group, else none",
        ),
    ] = ""  # type: ignore[assignment]  # replaced by `_choose_newcomers`
    oidc_link_existing: Annotated[
        bool,
        Field(description="an account, unless an admin's, becomes that of who has its name"),
    ] = False

    @field_validator(
        "oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_user_claim", "oidc_group",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _no_provider_if_empty(cls, value: Any) -> Any:
        """Docker compose sets a variable that isn't in `.env` to nothing."""
        return value or None

    @field_validator("oidc_email_domains", mode="before")
    @classmethod
    def _split_email_domains(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())

    @field_validator("oidc_project_roles", mode="before")
    @classmethod
    def _read_project_roles(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(GroupRole.read(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("oidc_newcomers", mode="before")
    @classmethod
    def _choose_newcomers(cls, value: Any, info: ValidationInfo) -> Any:
        """At a public provider anybody may have an account: not here, unless a setting says who."""
        is_bound = info.data.get("oidc_email_domains") or info.data.get("oidc_group")
        return value or ("viewer" if is_bound else "none")

    @model_validator(mode="after")
    def _ensure_complete(self) -> Self:
        if self.oidc_issuer is None:
            return self
        for name in ("oidc_client_id", "oidc_client_secret", "public_url"):
            if getattr(self, name) is None:
                raise ValueError(f"NORMLAB_OIDC_ISSUER needs NORMLAB_{name.upper()} beside it")
        if not is_private(self.oidc_issuer):
            raise ValueError(
                "NORMLAB_OIDC_ISSUER must begin with https:// (http:// only on this machine)"
            )
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("NORMLAB_OIDC_SCOPES must have openid among them")
        return self


class Settings(LoginSettings):
    """Read once, in the composition root."""

    mlflow_url: Annotated[str | None, Field(description="public base of the links to MLflow")] = (
        None
    )
    body_bytes: Annotated[int, Field(ge=1, description="of a JSON body")] = 10 * 2**20
    # PyYAML reads about 0.2 MB a second; a longer document would hold a thread for minutes.
    yaml_bytes: Annotated[int, Field(ge=1, description="of a YAML body")] = 2**20
    keep_checkpoints_days: Annotated[
        float,
        Field(ge=0, description="as the sweep's: what is removed where a request doesn't say"),
    ] = 7.0
    requests_per_second: Annotated[
        float, Field(ge=0, description="with one token, of each process; 0: any number")
    ] = 50.0
    requests_at_once: Annotated[
        int, Field(ge=1, description="with one token, after a pause, before those per second")
    ] = 200
    expensive_at_once: Annotated[
        int,
        Field(ge=1, description="of one person: comparisons, exports, reports, plans, new studies"),
    ] = 12
    export_rows: Annotated[int, Field(ge=1, description="jobs of one export")] = 1_000_000
    planned_rows: Annotated[
        int,
        Field(ge=1, description="of measurements that one document may plan, unless an admin's"),
    ] = 20_000_000
    # Clients wait a minute for an answer.
    statement_seconds: Annotated[
        Seconds, Field(description="that PostgreSQL may take for one statement")
    ] = 30.0
    tokens_per_person: Annotated[int, Field(ge=1, description="valid ones at once")] = 20
    metrics_token: Annotated[
        SecretStr | None,
        Field(min_length=32, description="what Prometheus sends; without it there is no /metrics"),
    ] = None
    check_helpers: Annotated[int, Field(ge=1, le=64, description="that check at once")] = 2
    check_seconds: Annotated[Seconds, Field(description="of CPU time, to check one spec")] = 20.0
    check_megabytes: Annotated[int, Field(ge=256, description="resident, of each helper")] = 4096
    check_idle_seconds: Annotated[
        Seconds, Field(description="without use of the CPU: the helper hangs")
    ] = 30.0
    check_places: Annotated[
        int, Field(ge=1, le=MOST_PLACES, description="requests of one person that may wait")
    ] = 8
    check_wait_seconds: Annotated[
        Seconds, Field(description="that a request waits for a check before it answers 503")
    ] = 20.0
    # Clients wait a minute for an answer.
    study_check_seconds: Annotated[Seconds, Field(description="for all cells of a study")] = 35.0
    draw_seconds: Annotated[Seconds, Field(description="for a report or a figure")] = SECONDS
    draw_wait_seconds: Annotated[
        Seconds, Field(description="that a request waits for a drawing before it answers 202")
    ] = 10.0
    draw_megabytes: Annotated[int, Field(ge=256, description="resident, of the process")] = (
        MEGABYTES
    )
    check_start_seconds: Annotated[
        Seconds, Field(description="the helpers' server loads torch: without use of the CPU")
    ] = 120.0

    @field_validator("metrics_token", mode="before")
    @classmethod
    def _none_if_empty(cls, value: Any) -> Any:
        """Docker compose sets a variable that isn't in `.env` to nothing."""
        return value or None


def is_private(url: str) -> bool:
    """Whether nobody else can read what is sent there: over TLS, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
