"""One training by several processes, each on a device of its own: started, heard and ended together."""

from trainer.ranks.launch import train_on_ranks

__all__ = ["train_on_ranks"]
