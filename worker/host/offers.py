"""What this host trains with on each of its kinds of device (the numerics of new studies, and the environment), and the
packages of plugins that it has."""

from collections.abc import Sequence
from typing import Any

import structlog
import torch

from trainer.plugins import list_offered, offered_packages
from trainer.spec import Numerics
from trainer.training import describe_environment
from worker.host.devices import HostDevice
from worker.settings import Settings

log = structlog.get_logger(__name__)


def decide_numerics(settings: Settings, kind: str) -> Numerics:
    """Of a study whose first job starts here."""
    match kind:
        case "cuda":
            return Numerics(device="cuda")
        case _:
            return Numerics(device="cpu", threads=settings.cpu_threads)


def describe_offers(settings: Settings, devices: Sequence[HostDevice]) -> Sequence[dict[str, Any]]:
    """As `store.reuse.Offer` reads them, one for each kind and name of device."""
    return [
        _describe(decide_numerics(settings, kind), name)
        for kind, name in sorted({(device.kind, device.name) for device in devices})
    ]


def describe_packages() -> Sequence[str]:
    """Of plugins, as jobs name those that they need; none of them is imported here, before the forks."""
    for one in list_offered():
        if one.problem is not None:
            log.warning("a package of plugins cannot be used", reason=one.problem)
    return [str(one) for one in offered_packages()]


def _describe(numerics: Numerics, name: str) -> dict[str, Any]:
    # Described as on the CPU: this process must not ask CUDA anything. A GPU's name comes from `find_devices`,
    # and cuDNN's version follows from torch's.
    environment = describe_environment(numerics, torch.device("cpu"))
    if numerics.device == "cuda":
        environment |= {"device_name": name, "cuda": str(torch.version.cuda)}
    return {"numerics": numerics.model_dump(mode="json"), "environment": environment}
