"""How much variance pairing saves: trainings with named random streams, and with one global seed."""
