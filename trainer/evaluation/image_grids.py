"""Small arrays that show what a model or an augmentation does to a few examples, or over a plane."""

from collections.abc import Callable, Sequence

import numpy
import torch
from torch import Tensor, nn

from trainer.data import Data, Examples
from trainer.data.augmentation import build_augmentation
from trainer.evaluation.activations import observe
from trainer.evaluation.losses import Arrays
from trainer.random_streams import seed_globals
from trainer.spec import AugmentationSpec

RESPONSES, RESPONSE_CHANNELS = 4, 16
AUGMENTED = 8
#: Points along one feature, and along each of two.
ON_A_LINE, ON_A_SIDE = 200, 100
#: How far beyond the training data, of its range.
MARGIN = 0.1
TRAIN_POINTS = 1000


def responses(model: nn.Module, pixels: Tensor, run: Callable[[Tensor], object]) -> Arrays:
    """Of the first norm on maps: `images` n, C, H, W in [0, 1], `before` and `after` n, C', H', W' float32,
    for the first examples and channels. Empty where no norm sees maps."""
    pixels = pixels[:RESPONSES]
    seen = observe(model, lambda: run(pixels))
    name = next((name for name, one in seen.after.items() if one.dim() == 4), None)
    if name is None:
        return {}

    def kept(maps: Tensor) -> numpy.typing.NDArray[numpy.float32]:
        return maps[:, :RESPONSE_CHANNELS].float().cpu().numpy()

    return {
        "layer": numpy.array(name),
        "images": pixels.float().cpu().numpy(),
        "before": kept(seen.before[name]),
        "after": kept(seen.after[name]),
    }


def grid(data: Data, device: torch.device, predict: Callable[[Tensor], Tensor]) -> Arrays:
    """Predictions over one or two features: `x` N, F; `predictions` N, K (probabilities) or N (values), and
    the training examples `train_x`, `train_y`. Empty for more features."""
    features = data.info.shape[0]
    train = data.train.images.flatten(1)
    if data.info.content != "vectors" or features > 2:
        return {}
    low, high = train.amin(0), train.amax(0)
    room = MARGIN * (high - low)
    count = ON_A_LINE if features == 1 else ON_A_SIDE
    axes = [
        torch.linspace(float(a), float(b), count)
        for a, b in zip(low - room, high + room, strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, features)
    with torch.no_grad():
        predictions = predict(points.view(-1, features, 1, 1).to(device))
    return {
        "x": points.numpy(),
        "predictions": predictions.float().cpu().numpy(),
        "train_x": train[:TRAIN_POINTS].numpy(),
        "train_y": data.train.labels[:TRAIN_POINTS].numpy(),
    }


def augmented(
    data: Data, device: torch.device, specs: Sequence[AugmentationSpec], seed: int
) -> Arrays:
    """`original` and `augmented` n, C, H, W in [0, 1]: the first training examples and one draw of each.
    Empty where nothing is augmented."""
    augment = build_augmentation(specs)
    if augment is None:
        return {}
    pixels, _ = Examples.of(data.train, device).take(slice(0, AUGMENTED))
    seed_globals("augmentation", seed, 0)
    return {"original": pixels.cpu().numpy(), "augmented": augment(pixels).cpu().numpy()}
