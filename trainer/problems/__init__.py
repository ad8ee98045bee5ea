"""What is wrong with a document: where in it, in words, and what was probably meant; loads no torch."""

from trainer.problems.explain import MOST_PROBLEMS, explain, problems
from trainer.problems.positions import PlaceFinder
from trainer.problems.suggestions import did_you_mean, listed

__all__ = [
    "MOST_PROBLEMS",
    "PlaceFinder",
    "did_you_mean",
    "explain",
    "listed",
    "problems",
]
