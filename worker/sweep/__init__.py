"""`python -m worker.sweep`: rescues, tidies, judges."""
