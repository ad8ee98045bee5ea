"""What is wrong or doubtful in a document: the shape of every answer about specs. Knows no check."""

from trainer.spec.part import Part


class Problem(Part):
    """One thing that must change: where, what, and how."""

    pointer: str
    detail: str
    layer: str | None = None
    remedy: str | None = None


class Report(Part):
    """What the network-aware check found for one spec on one dataset."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parameters: int = 0
