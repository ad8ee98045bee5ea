"""What a study is made of: presets, datasets, and what a spec may choose from."""

from api.web.catalog import datasets, options, presets

__all__ = ["datasets", "options", "presets"]
