"""Deterministic simulation: the whole engine on an event loop whose time is a number, over a network in memory."""

from postroad.lab.sim.clock import SimClock
from postroad.lab.sim.disk import WatchedDisk
from postroad.lab.sim.judge import End, Verdict, judge, worst
from postroad.lab.sim.letters import Letter, Writer
from postroad.lab.sim.loop import Deadlock, RunAway, SimLoop
from postroad.lab.sim.names import SimResolver
from postroad.lab.sim.net import Dial, LinkPlan, SimNet, Weather
from postroad.lab.sim.pipe import Cut, Fault
from postroad.lab.sim.process import Process, ProcessDied, ProcessKilled
from postroad.lab.sim.receiver import Act, Arrival, Manner, SmtpReceiver
from postroad.lab.sim.sender import Fate, SmtpSender, Submission
from postroad.lab.sim.storm import Storm
from postroad.lab.sim.trace import Trace
from postroad.lab.sim.transport import SimTransport
from postroad.lab.sim.web import HttpSender
from postroad.lab.sim.world import Broken, CrashDisk, Engine, World, until

__all__ = [
    "Act",
    "Arrival",
    "Broken",
    "CrashDisk",
    "Cut",
    "Deadlock",
    "Dial",
    "End",
    "Engine",
    "Fate",
    "Fault",
    "HttpSender",
    "Letter",
    "LinkPlan",
    "Manner",
    "Process",
    "ProcessDied",
    "ProcessKilled",
    "RunAway",
    "SimClock",
    "SimLoop",
    "SimNet",
    "SimResolver",
    "SimTransport",
    "SmtpReceiver",
    "SmtpSender",
    "Storm",
    "Submission",
    "Trace",
    "Verdict",
    "WatchedDisk",
    "Weather",
    "World",
    "Writer",
    "judge",
    "until",
    "worst",
]
