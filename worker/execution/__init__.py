"""One claimed job, to its end."""

from worker.execution.drain import Drain
from worker.execution.execute import Surroundings, execute
from worker.execution.failures import is_out_of_memory
from worker.execution.heartbeat import Rhythm
from worker.execution.space import Space

__all__ = [
    "Drain",
    "Rhythm",
    "Space",
    "Surroundings",
    "execute",
    "is_out_of_memory",
]
