"""The training loop, its state, its checkpoints, and what a training turned out to be."""

from trainer.training.batch_order import BatchSampler
from trainer.training.checkpoint import restore_model
from trainer.training.environment import describe_environment
from trainer.training.loop import train
from trainer.training.ranks import Ranks

__all__ = [
    "BatchSampler",
    "Ranks",
    "describe_environment",
    "restore_model",
    "train",
]
