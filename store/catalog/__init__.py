"""What jobs refer to: datasets, projects, tags, checkpoints of other jobs."""

from store.catalog import annotations, datasets, initial_weights, projects
from store.catalog.annotations import is_archived
from store.catalog.initial_weights import InitialWeights

__all__ = [
    "InitialWeights",
    "annotations",
    "datasets",
    "initial_weights",
    "is_archived",
    "projects",
]
