"""Studies that grow until they are decided: the next look, in the transaction that closes the last job of the one before."""

from studies.growth.grow import grow
from studies.growth.refusals import refuse_between_looks, refuse_undecidable

__all__ = ["grow", "refuse_between_looks", "refuse_undecidable"]
