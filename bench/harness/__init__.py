"""What every section of the benchmark shares: figures and goals, turns, process trees, a stack of its own."""
