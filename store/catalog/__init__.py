"""What jobs refer to: datasets, projects, tags."""

from store.catalog import annotations, datasets, projects
from store.catalog.annotations import is_archived

__all__ = [
    "annotations",
    "datasets",
    "is_archived",
    "projects",
]
