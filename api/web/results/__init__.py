"""Pages over all results: what a query finds, and groups or studies side by side."""

from api.web.results import compare, listing

__all__ = ["compare", "listing"]
