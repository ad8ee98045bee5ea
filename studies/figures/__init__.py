"""Every figure, as `python -m studies.figures` draws it; only this room loads matplotlib."""
