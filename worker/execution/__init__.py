"""One acquired job, to its end."""

from worker.execution.context import Drain, ExecutionContext
from worker.execution.execute import execute
from worker.execution.failures import is_out_of_memory
from worker.execution.heartbeat import LeaseTiming
from worker.execution.space import Space
from worker.execution.standstill import (
    forget_abandoned_stacks,
    forget_stacks,
    read_stacks,
)

__all__ = [
    "Drain",
    "ExecutionContext",
    "LeaseTiming",
    "Space",
    "execute",
    "forget_abandoned_stacks",
    "forget_stacks",
    "is_out_of_memory",
    "read_stacks",
]
