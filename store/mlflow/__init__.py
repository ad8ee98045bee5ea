"""What is missing in MLflow, and why."""

from store.mlflow import experiments, exports, links, mirror, mirror_problems, written
from store.mlflow.mirror import JobToMirror, StudyToMirror
from store.mlflow.mirror_problems import FIRST_PAUSE_SECONDS, Subject

__all__ = [
    "FIRST_PAUSE_SECONDS",
    "JobToMirror",
    "StudyToMirror",
    "Subject",
    "experiments",
    "exports",
    "links",
    "mirror",
    "mirror_problems",
    "written",
]
