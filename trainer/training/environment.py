"""What a training ran in, and the torch settings that numerics ask for."""

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch

from trainer.code_versions import with_generation
from trainer.spec import Numerics
from trainer.training.code_digest import code_digest


def apply_numerics(numerics: Numerics) -> None:
    """Sets torch up for the whole process.

    Deterministic algorithms on CUDA need CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment before
    CUDA starts. Without it, and for operations that have no deterministic kernel there (adaptive
    pooling of AlexNet and VGG, by torch's documentation), torch warns and trains: the job's log says so.
    """
    torch.set_num_threads(numerics.threads)
    # Sets the same state as `use_deterministic_algorithms`, without importing the compiler.
    torch.set_deterministic_debug_mode("warn" if numerics.deterministic else "default")
    # Empty memory is written before it is read anyway; filling it first would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = numerics.deterministic
    # Benchmarking picks the kernel that is fastest on this run's timing, so two runs could round
    # differently.
    torch.backends.cudnn.benchmark = False
    # float32 means all of its 24 bits, in convolutions as in matrix products.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def describe_environment(numerics: Numerics, device: torch.device) -> dict[str, str]:
    """Everything that bit-equality hangs on besides spec and data."""
    return {
        "code": code_digest(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        **{name: metadata.version(name) for name in ("torchvision", "timm", "numpy")},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **_describe_device(device),
        **{name: str(value) for name, value in numerics.model_dump(exclude={"device"}).items()},
    }


def describe_change(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """A warning where the environment is another one; None where results are equal in both."""
    before, now = with_generation(before), with_generation(now)
    changed = [
        f"{name} ({before.get(name)} → {now.get(name)})"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if not changed:
        return None
    return (
        "the environment has changed since the checkpoint, so equality to the last bit with an "
        f"uninterrupted training is not promised: {', '.join(changed)}"
    )


def _describe_device(device: torch.device) -> dict[str, str]:
    if device.type != "cuda":
        return {"device": device.type}
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(cudnn),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
