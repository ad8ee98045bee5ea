"""What the environment says to the worker's processes (NORMLAB_*)."""

import socket
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from runtime.metrics import MetricsAddress
from runtime.settings import MessageSettings, Seconds
from store.db import HALF_LIFE_SECONDS


class Settings(MessageSettings):
    """Read once, in each process's composition root; a lease and its rhythm belong together."""

    # `{n}` stands for the first number that no other worker has: for replicas with one environment.
    host_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\{n\})?$")] = Field(
        default_factory=socket.gethostname
    )
    cpu_slots: Annotated[int | None, Field(ge=0, description="default: cores / cpu_threads")] = None
    cpu_threads: Annotated[int, Field(ge=1)] = 1
    gpu_slots: Annotated[
        int | None,
        Field(
            ge=0,
            description="jobs at once on each GPU, at most; default: 4 where its memory can be measured, else 1",
        ),
    ] = None
    fake_gpus: Annotated[
        Path | None,
        Field(
            description="for tests and demonstrations: a file that says which GPUs there are; jobs train on the CPU"
        ),
    ] = None
    lease_seconds: Seconds = 90.0
    heartbeat_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="a requested action is seen within this time; never above a quarter of the lease",
        ),
    ] = 2.0
    stall_seconds: Annotated[
        float, Field(gt=0, description="no step for so long: the lease is no longer renewed")
    ] = 600.0
    sweep_seconds: Seconds = 5.0
    usage_half_life_seconds: Annotated[
        Seconds, Field(description="sweep: half of what people have used is forgotten in this time")
    ] = HALF_LIFE_SECONDS
    preempt_after_seconds: Annotated[
        Seconds,
        Field(
            description="sweep: a job gives way to none of a higher class before it has run so long"
        ),
    ] = 300.0
    keep_checkpoints_days: Annotated[
        float,
        Field(
            ge=0,
            description="sweep: so long after a job's end, the checkpoints that it would resume from are kept; the "
            "best one stays",
        ),
    ] = 7.0
    min_free_mb: Annotated[
        float,
        Field(
            ge=0,
            description="with less free where jobs write (storage, temporary folder), no job is "
            "acquired; 0: no check",
        ),
    ] = 512.0
    host_lock_seconds: Annotated[
        float, Field(ge=0, description="so long a start waits for an earlier worker to end")
    ] = 30.0
    webhook_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        Field(
            description="sweep: webhooks may be here, too, separated by commas; by default only at public addresses"
        ),
    ] = ()
    smtp_password: Annotated[
        SecretStr | None, Field(description="sweep: of the user in smtp_url")
    ] = None
    api_port: Annotated[
        int | None,
        Field(description="sweep: the API's on this machine, where its address isn't said"),
    ] = None
    worker_metrics: MetricsAddress = None
    sweep_metrics: MetricsAddress = None

    @field_validator("webhook_networks", mode="before")
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("redis_url")
    @classmethod
    def _in_celerys_words(cls, value: str) -> str:
        """redis-py calls a Unix socket `unix://`, Celery `redis+socket://`."""
        return value.replace("unix://", "redis+socket://", 1)

    @property
    def address_in_links(self) -> str | None:
        """None: messages have no links."""
        if self.public_url is None and self.api_port is not None:
            return f"http://127.0.0.1:{self.api_port}"
        return self.public_url

    @property
    def renewal_seconds(self) -> float:
        """Pause between two renewals of a lease."""
        return min(self.heartbeat_seconds, self.lease_seconds / 4)
