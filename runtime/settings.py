"""Settings that every process of the service reads from its environment (NORMLAB_*)."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runtime.storage import Storage, open_storage

Seconds = Annotated[float, Field(gt=0)]
#: Of an address that mail is sent to or from (a dot-atom of RFC 5322): nothing in it needs quoting, in a header, a
#: command or a URL.
MAIL_ADDRESS = re.compile(
    r"(?=.{1,64}@)[A-Za-z0-9_+=~'-]+(\.[A-Za-z0-9_+=~'-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)


def _open(location: Any, info: ValidationInfo) -> Any:
    """As the other settings say; a storage that is open already is taken as it is."""
    if not isinstance(location, str | Path):
        return location
    return open_storage(
        location,
        endpoint=info.data.get("s3_endpoint"),
        cache=info.data.get("cache"),
        cache_bytes=round(info.data.get("cache_mb", 0.0) * 1e6),
    )


class StorageSettings(BaseSettings):
    """Where files are shared."""

    # What was given holds passwords, and an error about it goes to the log.
    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True, hide_input_in_errors=True)

    # These first: the storage is opened with them.
    s3_endpoint: Annotated[
        str | None, Field(description="of an object store that is not Amazon's: its address")
    ] = None
    cache: Annotated[
        Path | None, Field(description="of an object store: the folder for copies on this host")
    ] = None
    cache_mb: Annotated[float, Field(ge=0, description="of the copies that are kept")] = 20_000.0
    storage: Annotated[
        Storage, PlainValidator(_open), Field(description="a folder, or s3://bucket/prefix")
    ]


class ServiceSettings(StorageSettings):
    """Read once, in the composition root of each process."""

    database_url: str
    log_level: str = "INFO"

    @field_validator("log_level")
    @classmethod
    def _upper(cls, level: str) -> str:
        return level.upper()


class QueueSettings(ServiceSettings):
    """Of a process that sends or receives wake-ups, and reads datasets."""

    redis_url: str
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(Path(part) for part in value.split(os.pathsep) if part)


class MessageSettings(QueueSettings):
    """Of a process that takes orders for messages to people, or sends them."""

    public_url: Annotated[
        str | None,
        Field(
            description="the API's address, as people reach it: of links in messages, and of logins"
        ),
    ] = None
    smtp_url: Annotated[
        str | None,
        Field(
            description="smtp[s]://[user@]host[:port] of the mail server; without it no mail is sent"
        ),
    ] = None
    mail_from: Annotated[str | None, Field(description="the address that mail comes from")] = None
    mail_domains: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            validate_default=True,
            description="mail goes to addresses of these alone, separated by commas; default: that of mail_from",
        ),
    ] = ()

    @field_validator("public_url", "smtp_url", "mail_from", mode="before")
    @classmethod
    def _unset_if_empty(cls, value: Any) -> Any:
        """Docker compose sets a variable that isn't in `.env` to nothing."""
        return value or None

    @field_validator("public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return value and value.rstrip("/")

    @field_validator("smtp_url")
    @classmethod
    def _ensure_server(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "smtp://host")
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/"):
            raise ValueError("must be like smtp://user@mail.example:587, or smtps://…")
        # Raises ValueError for one that isn't a number.
        _ = parts.port
        if parts.password is not None:
            raise ValueError("must have no password: that is NORMLAB_SMTP_PASSWORD, of the sweep")
        return value

    @field_validator("mail_from")
    @classmethod
    def _ensure_address(cls, value: str | None) -> str | None:
        if value is not None and not MAIL_ADDRESS.fullmatch(value):
            raise ValueError("must be an address like normlab@lab.example")
        return value

    @field_validator("mail_domains", mode="before")
    @classmethod
    def _split_domains(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip().lower() for part in value.split(",") if part.strip())
        sender = info.data.get("mail_from")
        return value or ((sender.rpartition("@")[2].lower(),) if sender else ())

    @model_validator(mode="after")
    def _ensure_sender(self) -> Self:
        if self.smtp_url is not None and self.mail_from is None:
            raise ValueError("NORMLAB_SMTP_URL needs NORMLAB_MAIL_FROM beside it")
        return self
