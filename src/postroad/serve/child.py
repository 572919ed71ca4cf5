"""What a child of the supervisor runs: python -m postroad.serve.child NAME LOOP LINK PARENT

LOOP: uvloop or asyncio. LINK: the descriptor of our end of the link. PARENT: process id of the supervisor.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys

from postroad.serve.errors import StartError
from postroad.serve.frames import Failed, Ping, Pong, Start, Stop
from postroad.serve.kinds import KINDS
from postroad.serve.link import Link
from postroad.serve.logs import configure_log

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(arguments: list[str]) -> int:
    name, loop_name, link_fd, parent = arguments
    # A supervisor that is killed leaves nothing behind: neither we nor our sockets may outlive it.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        return 1  # it was killed before we had said so
    # Ctrl-C and a closed terminal reach the whole group of processes; what follows from them the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    configure_log(name)
    factory = None
    if loop_name == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_live(socket.socket(fileno=int(link_fd))))


async def _live(sock: socket.socket) -> int:
    link = Link()
    loop = asyncio.get_running_loop()
    started: asyncio.Future[Start] = loop.create_future()
    stop = asyncio.Event()
    # SIGTERM as well: some send it to all processes of a service at once.
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    link.on(Stop, lambda frame: stop.set())
    link.on(Ping, lambda frame: link.send(Pong()))
    link.on(Start, started.set_result)
    link.on_closed(lambda: os._exit(1))  # the supervisor is gone
    link.begin(sock)
    start = await started
    try:
        await KINDS[start.kind].run(start, link, stop)
    except StartError as error:
        link.send(Failed(str(error)))
        await link.flushed()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
