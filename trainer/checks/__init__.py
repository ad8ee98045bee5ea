"""A spec against its model and data, without weights and without images."""

from trainer.checks.run import check

__all__ = [
    "check",
]
