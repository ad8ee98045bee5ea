"""What a study is made of: presets, datasets, and what a spec may choose from."""

from api.web.catalog import datasets, options, presets
from api.web.catalog.options import find_choice, write_template

__all__ = ["datasets", "find_choice", "options", "presets", "write_template"]
