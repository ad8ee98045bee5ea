"""Deletion for good, of what has ended (`deleting`); and what it leaves to remove outside of the database (`leftovers`)."""
