"""The trainings of the sweep as a plain PyTorch loop, which every peer runs. Imports nothing of Normlab.

`bench.sweep.inputs` writes what it reads: images, initial weights and the order of the examples, so that all
contestants take the same steps. The tricks are those of Normlab's trainer: the data standardized once and on
the device, one fused kernel for the update (called directly: `torch.optim` would import PyTorch's compiler),
sums on the device and one transfer per epoch, validation in one batch.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

MOMENTUM = 0.9


class Epoch(NamedTuple):
    """Means over the examples of a pass."""

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


class Job(NamedTuple):
    """A row of `jobs.json`; `key` names its arrays."""

    key: str
    model: str
    norm: str
    seed: int
    width: int
    lr: float
    decay: float
    batch_size: int
    epochs: int
    patience: int


class Inputs:
    """The folder that `bench.sweep.inputs` wrote, with the images as floats."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.jobs = [Job(**row) for row in json.loads((self.folder / "jobs.json").read_text())]
        arrays = numpy.load(self.folder / "data.npz")
        self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        pixels = self.arrays[f"{name}_images"].float() / 255
        mean, std = self.arrays["mean"].view(1, -1, 1, 1), self.arrays["std"].view(1, -1, 1, 1)
        return (pixels - mean) / std, self.arrays[f"{name}_labels"]

    def weights(self, job: Job) -> dict[str, Tensor]:
        prefix = f"{job.key}/"
        return {
            name.removeprefix(prefix): value.clone()
            for name, value in self.arrays.items()
            if name.startswith(prefix)
        }

    def order(self, job: Job, number: int) -> Tensor:
        return self.arrays[f"order/{job.seed}"][number]


def build_network(job: Job) -> nn.Sequential:
    match job.model:
        case "cnn":
            return _build_cnn(job.norm, job.width)
        case "mlp":
            return _build_mlp(job.width)
        case "resnet20":
            return _build_resnet20(job.width)
        case _:
            raise ValueError(f"no such model here: {job.model}")


def _build_cnn(norm: str, width: int) -> nn.Sequential:
    """Three convolutions of width, 2 × width and 4 × width, global average pooling, a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, factor in enumerate((1, 2, 4), start=1):
        size = factor * width
        # A convolution has a bias of its own where no norm follows that would take it away.
        layers[f"conv{number}"] = nn.Conv2d(channels, size, 3, padding=1, bias=norm == "none")
        layers[f"norm{number}"] = _build_norm(norm, size)
        layers[f"activation{number}"] = nn.ReLU()
        if number < 3:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = size
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, 10)
    return nn.Sequential(layers)


def _build_norm(norm: str, channels: int) -> nn.Module:
    match norm:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "group":
            return nn.GroupNorm(8, channels)
        case _:
            raise ValueError(f"no such norm here: {norm}")


def _build_mlp(width: int) -> nn.Sequential:
    """On images of 8×8 pixels: three hidden layers, each with batch norm."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = 64
    for number in (1, 2, 3):
        layers[f"linear{number}"] = nn.Linear(inputs, width, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm1d(width)
        layers[f"activation{number}"] = nn.ReLU()
        inputs = width
    layers["classifier"] = nn.Linear(width, 10)
    return nn.Sequential(layers)


def _build_resnet20(width: int) -> nn.Sequential:
    """With batch norm, and shortcuts without parameters (He et al. 2016, arXiv 1512.03385, §4.2)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(1, width, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(width),
        activation=nn.ReLU(),
    )
    channels = width
    for stage in range(3):
        for block in range(3):
            size = width * 2**stage
            stride = 2 if stage and block == 0 else 1
            layers[f"stage{stage + 1}_block{block + 1}"] = Block(channels, size, stride)
            channels = size
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, 10)
    return nn.Sequential(layers)


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.activation1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.activation2 = nn.ReLU()
        self.stride, self.padding = stride, width - channels

    def forward(self, x: Tensor) -> Tensor:
        branch = self.activation1(self.norm1(self.conv1(x)))
        branch = self.norm2(self.conv2(branch))
        if self.padding:
            x = x[:, :, :: self.stride, :: self.stride]
            before = self.padding // 2
            x = functional.pad(x, (0, 0, 0, 0, before, self.padding - before))
        return self.activation2(branch + x)


class FusedSgd:
    """SGD with momentum; weights decay, biases and the parameters of norms do not."""

    def __init__(self, network: nn.Module, lr: float, decay: float) -> None:
        parameters = list(network.parameters())
        self._lr = lr
        self._groups = [
            ([one for one in parameters if one.ndim > 1], decay),
            ([one for one in parameters if one.ndim == 1], 0.0),
        ]
        self._momenta = [[torch.empty_like(one) for one in group] for group, _ in self._groups]
        self._is_first = True

    @torch.no_grad()
    def step(self) -> None:
        for (group, decay), momenta in zip(self._groups, self._momenta, strict=True):
            torch._fused_sgd_(
                group,
                [one.grad for one in group],
                momenta,
                weight_decay=decay,
                momentum=MOMENTUM,
                lr=self._lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=self._is_first,
            )
            for one in group:
                one.grad = None
        self._is_first = False


def train(
    job: Job, inputs: Inputs, after_step: Callable[[], None] = lambda: None
) -> Iterator[Epoch | dict[str, Any]]:
    """An `Epoch` after each pass, and at the end the summary."""
    network = build_network(job)
    network.load_state_dict(inputs.weights(job))
    train_x, train_y = inputs.split("train")
    val_x, val_y = inputs.split("val")
    update = FusedSgd(network, job.lr, job.decay)
    best, best_epoch, step = float("inf"), 0, 0
    for epoch in range(1, job.epochs + 1):
        network.train()
        sums = torch.zeros(2, dtype=torch.float64)
        for rows in inputs.order(job, epoch - 1).split(job.batch_size):
            x, y = train_x[rows], train_y[rows]
            scores = network(x)
            loss = functional.cross_entropy(scores, y)
            loss.backward()
            update.step()
            with torch.no_grad():
                sums += torch.stack((loss.detach() * len(y), (scores.argmax(1) == y).sum()))
            step += 1
            after_step()
        val_loss, val_accuracy = _evaluate(network, val_x, val_y)
        train_loss, train_accuracy = (sums / len(train_y)).tolist()
        yield Epoch(epoch, step, train_loss, train_accuracy, val_loss, val_accuracy)
        if val_loss < best:
            best, best_epoch = val_loss, epoch
            kept = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best_epoch >= job.patience:
            break
    network.load_state_dict(kept)
    test_x, test_y = inputs.split("test")
    test_loss, test_accuracy = _evaluate(network, test_x, test_y)
    yield {
        "key": job.key, "epochs": epoch, "steps": step, "best_epoch": best_epoch,
        "best_val_loss": best, "test_loss": test_loss, "test_accuracy": test_accuracy,
    }  # fmt: skip


@torch.no_grad()
def _evaluate(network: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    network.eval()
    scores = network(x)
    loss = functional.cross_entropy(scores, y)
    accuracy = (scores.argmax(1) == y).double().mean()
    return loss.item(), accuracy.item()
