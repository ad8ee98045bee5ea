"""Studies that grow until they are decided: the next look, in the transaction that closes the last job of the one before."""

from studies.growth.grow import grow

__all__ = ["grow"]
