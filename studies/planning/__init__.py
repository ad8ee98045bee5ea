"""What a study will be before it is trained: how long it takes, and what can come of it."""

from studies.planning import outlook
from studies.planning.bill import Bill, Expected, add_up, expect
from studies.planning.estimates import ArmWork, estimate
from studies.planning.growth import (
    Growth,
    GrowthState,
    describe_growth,
    refuse_between_looks,
    refuse_undecidable,
)
from studies.planning.outlook import growth_notes, repeat_notes
from studies.planning.starts import Turn, expect_end, expect_starts
from studies.planning.waiting import Line, Place, Slot, read_free, read_line

__all__ = [
    "ArmWork",
    "Bill",
    "Expected",
    "Growth",
    "GrowthState",
    "Line",
    "Place",
    "Slot",
    "Turn",
    "add_up",
    "describe_growth",
    "estimate",
    "expect",
    "expect_end",
    "expect_starts",
    "growth_notes",
    "outlook",
    "read_free",
    "read_line",
    "refuse_between_looks",
    "refuse_undecidable",
    "repeat_notes",
]
