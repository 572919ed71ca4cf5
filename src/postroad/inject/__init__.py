"""1 Inject: mail comes in, over SMTP here and over HTTP in `inject.http`."""

from postroad.inject.commands import BadCommand, Chunk
from postroad.inject.events import Connect, Content, Data, Envelope, Event, Hello, Mail, Rcpt, Refusal
from postroad.inject.machine import Machine
from postroad.inject.msysapi import MsysApi
from postroad.inject.refusals import Refusals, Told
from postroad.inject.server import SmtpListener
from postroad.inject.tables import TABLE, State, draw

__all__ = [
    "TABLE",
    "BadCommand",
    "Chunk",
    "Connect",
    "Content",
    "Data",
    "Envelope",
    "Event",
    "Hello",
    "Machine",
    "Mail",
    "MsysApi",
    "Rcpt",
    "Refusal",
    "Refusals",
    "SmtpListener",
    "State",
    "Told",
    "draw",
]
