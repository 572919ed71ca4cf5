"""The HTTP API."""

from postroad.api.app import make_app
from postroad.api.server import HttpServer

__all__ = ["HttpServer", "make_app"]
