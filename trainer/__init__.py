"""Trains one spec with PyTorch, as a library."""
