"""The tests. This file makes them come before a `tests` that some package of the registry has installed."""
