"""The load generator: many mixed messages over SMTP and HTTP to a server on loopback, and a count of what became of
them. A client of its own, sharing no code with `deliver`."""

from postroad.lab.load.plan import LoadPlan, loopback
from postroad.lab.load.run import run_load
from postroad.lab.load.tally import LoadResult

__all__ = ["LoadPlan", "LoadResult", "loopback", "run_load"]
