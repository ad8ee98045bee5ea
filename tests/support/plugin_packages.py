"""Small packages of plugins: as a wheel that pip installs, or written into a folder as pip would leave it."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

NETS = '''
from torch import nn


def tiny(shape, outputs, *, width=8, depth=1):
    channels, *_ = shape
    layers = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))


def sized(shape, outputs):
    """Computes with tensors while it is built."""
    import torch

    if float(torch.ones(3).sum()) != 3:
        raise AssertionError
    return tiny(shape, outputs)


def lazy(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))


def number(shape, outputs):
    return 7


def broken(shape, outputs):
    raise KeyError("no such width")


not_a_function = 3


def stripes(*, count=120, size=8, seed=0, first="rows", extra=None):
    """Horizontal and vertical ones, as pixels."""
    import numpy

    chance = numpy.random.default_rng(seed)
    labels = chance.integers(2, size=count)
    rows = chance.integers(2, size=(count, 1, size, 1)) * numpy.ones((1, 1, 1, size), int)
    columns = numpy.swapaxes(rows, 2, 3)
    pixels = numpy.where(labels[:, None, None, None] == 0, rows, columns) * 200
    noise = chance.integers(50, size=pixels.shape)
    train = (pixels + noise).astype(numpy.uint8), labels
    return {"train": train, "classes": [first, "columns"], **({extra: train} if extra else {})}


def waves(*, part="train"):
    import numpy

    x = numpy.linspace(0, 1, 60)[:, None]
    return {part: (x, numpy.sin(6 * x[:, 0]))}


def uncounted():
    import numpy

    return {"train": (numpy.zeros((4, 0)), numpy.arange(4)), "classes": None}


def unnamed():
    import numpy

    return {"train": (numpy.eye(4), numpy.arange(4)), "classes": None}


def crooked():
    import numpy

    return {"train": (numpy.zeros((4, 2, 8, 8), numpy.uint8), numpy.arange(4))}


def balanced_accuracy(predictions, targets):
    import numpy

    chosen = predictions.argmax(1)
    return numpy.mean([(chosen[targets == one] == one).mean() for one in numpy.unique(targets)])


def mean_error_loss(predictions, targets):
    predictions -= targets
    return abs(predictions).mean()


def words(predictions, targets):
    return "good"


def alone(predictions):
    return 1.0
'''
ENTRY_POINTS = {
    "normlab.models": {
        "tiny": "lab_nets:tiny",
        "sized": "lab_nets:sized",
        "lazy": "lab_nets:lazy",
        "number": "lab_nets:number",
        "broken": "lab_nets:broken",
        "three": "lab_nets:not_a_function",
        "gone": "lab_nets:gone",
    },
    "normlab.datasets": {
        name: f"lab_nets:{name}"
        for name in ("stripes", "waves", "uncounted", "unnamed", "crooked", "broken")
    },
    "normlab.metrics": {
        name: f"lab_nets:{name}"
        for name in ("balanced_accuracy", "mean_error_loss", "words", "alone")
    },
}


def write_package(
    site: Path,
    *,
    name: str = "lab-nets",
    version: str = "1.0",
    modules: Mapping[str, str] | None = None,
    entries: Mapping[str, Mapping[str, str]] = ENTRY_POINTS,
) -> Path:
    """As pip would have installed it in `site`; returns the folder of its metadata."""
    files = _lay_out(name, version, {"lab_nets": NETS} if modules is None else modules, entries)
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    return site / _metadata(name, version)


def build_wheel(folder: Path, *, version: str = "1.0", source: str = NETS) -> Path:
    path = folder / f"lab_nets-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in _lay_out("lab-nets", version, {"lab_nets": source}, ENTRY_POINTS).items():
            wheel.writestr(name, text)
    return path


def pip_install(wheel: Path, target: Path) -> None:
    """From the file alone: no registry is asked."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--upgrade",
    ]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, timeout=300)


def _metadata(name: str, version: str) -> str:
    return f"{name.replace('-', '_')}-{version}.dist-info"


def _lay_out(
    name: str,
    version: str,
    modules: Mapping[str, str],
    entries: Mapping[str, Mapping[str, str]],
) -> Mapping[str, str]:
    folder = _metadata(name, version)
    points = "\n".join(
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in one.items())])
        for group, one in entries.items()
    )
    files = {
        **{f"{module}.py": text for module, text in modules.items()},
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{folder}/entry_points.txt": points + "\n",
    }
    rows = [f"{path},sha256={_hash(text)},{len(text)}" for path, text in files.items()]
    return {**files, f"{folder}/RECORD": "\n".join([*rows, f"{folder}/RECORD,,"]) + "\n"}


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
