"""What moves weights and when it stops: optimizers, penalties, gradients, averages, mixup, early stopping."""

from trainer.optimization.early_stopping import EarlyStopping, has_diverged, is_better
from trainer.optimization.gradients import GradientRule, build_gradient_rule
from trainer.optimization.mixup import Mixer, build_mixer
from trainer.optimization.optimizers import build_optimizer, learning_rate, set_learning_rate
from trainer.optimization.penalties import Penalties, Projection, build_penalties, build_projection
from trainer.optimization.sharpness import Ascent, build_ascent
from trainer.optimization.weight_averaging import Average, build_average

__all__ = [
    "Ascent",
    "Average",
    "EarlyStopping",
    "GradientRule",
    "Mixer",
    "Penalties",
    "Projection",
    "build_ascent",
    "build_average",
    "build_gradient_rule",
    "build_mixer",
    "build_optimizer",
    "build_penalties",
    "build_projection",
    "has_diverged",
    "is_better",
    "learning_rate",
    "set_learning_rate",
]
