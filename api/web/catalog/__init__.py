"""What a study is made of: presets and datasets."""

from api.web.catalog import datasets, presets

__all__ = ["datasets", "presets"]
