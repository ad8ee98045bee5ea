"""Equal tuning budgets: trials, and the setting that is chosen."""

from studies.tuning.select import choose_when_complete, chosen_settings, tuned_arms
from studies.tuning.trials import TunedArm

__all__ = [
    "TunedArm",
    "choose_when_complete",
    "chosen_settings",
    "tuned_arms",
]
