"""What a browser shows: pages rendered on the server, their assets, and the API explorer."""

from api.web.compression import CompressedPages
from api.web.install import install

__all__ = ["CompressedPages", "install"]
