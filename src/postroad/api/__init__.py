"""The HTTP API.

What control serves (office, resources) needs SQLAlchemy, which engines don't load: import it from its modules.
"""

from postroad.api.admin import Admin
from postroad.api.app import make_app
from postroad.api.server import HttpServer
from postroad.api.stamp import App

__all__ = ["Admin", "App", "HttpServer", "make_app"]
