"""Pages over all results: what a query finds, and groups or studies side by side."""

from api.web.results import compare, listing
from api.web.results.listing import Asked

__all__ = ["Asked", "compare", "listing"]
