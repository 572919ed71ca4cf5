"""The HTTP API."""

from postroad.api.admin import Admin
from postroad.api.app import make_app
from postroad.api.server import HttpServer

__all__ = ["Admin", "HttpServer", "make_app"]
