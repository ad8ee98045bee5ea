"""Studies whose jobs follow from others, in the transaction that closes those: the next look from the one before, until all is
decided; the arms of a seed from its pretraining."""

from studies.growth.grow import grow
from studies.growth.pretraining import begin_arms, is_pretraining

__all__ = ["begin_arms", "grow", "is_pretraining"]
