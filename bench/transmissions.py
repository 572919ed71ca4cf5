"""A transmission to many recipients, from the request to a sink, and one-recipient transmissions, on a real server.

    python -m bench.transmissions [--recipients N] [--singles N] [--engines N] [--room N]

The server and Postfix's smtp-sink are processes of their own. CPU is user+system of the engines, divided by the
recipients; the client and the sink are not counted. Durability is `power`: what was answered 200 is on the disk.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from postroad.auth import new_key

SINKS = ("/usr/sbin/smtp-sink", "/usr/local/sbin/smtp-sink")
_TICK = os.sysconf("SC_CLK_TCK")
_TEXT = "Good news for you. " * 100  # 1.9 KB


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def engines_cpu(pid: int) -> float:
    """Seconds of CPU that the engines of the server had."""
    spent = 0.0
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and b"engine-" in (folder / "cmdline").read_bytes():
                spent += (int(fields[11]) + int(fields[12])) / _TICK
        except (OSError, IndexError, ValueError):
            continue
    return spent


class Client:
    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": key, "Content-Type": "application/json"}

    def post(self, body: object) -> Any:
        self._connection.request("POST", "/api/v1/transmissions", json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        octets = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {octets.decode()[:500]}")
        return json.loads(octets)["results"]


def mailing(addresses: list[str]) -> dict[str, object]:
    content = {"from": "news@sender.test", "subject": "News", "text": _TEXT, "html": f"<p>{_TEXT}</p>"}
    return {"recipients": [{"address": {"email": each}} for each in addresses], "content": content}


def until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds} s")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--singles", type=int, default=2_000)
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--room", type=int, default=50_000)
    wanted = parser.parse_args()
    sink = next((path for path in SINKS if Path(path).exists()), None)
    if sink is None:
        raise SystemExit("smtp-sink (Debian: postfix) is needed")
    folder = Path(tempfile.mkdtemp(prefix="postroad-bench-"))
    smtp, door, far = free_port(), free_port(), free_port()
    key, digest = new_key()
    (folder / "postroad.toml").write_text(
        f'[server]\nhostname = "bench.test"\ndata_dir = "data"\nengines = {wanted.engines}\n'
        f'[[listener]]\naddress = "127.0.0.1:{smtp}"\n'
        f'[http]\naddress = "127.0.0.1:{door}"\njob_room = {wanted.room}\n'
        f'[[http.keys]]\nlabel = "bench"\nsha256 = "{digest}"\n'
        f'[delivery]\nprohibited_hosts = []\ngateway = "127.0.0.1:{far}"\n'
    )
    user = ["-u", "root"] if os.getuid() == 0 else []
    receiver = subprocess.Popen([sink, *user, f"127.0.0.1:{far}", "1024"], stderr=subprocess.DEVNULL)
    command = [sys.executable, "-m", "postroad", "serve", "--config", str(folder / "postroad.toml")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _measure(wanted, server, folder, door, key)
    finally:
        server.terminate()
        server.wait(60)
        receiver.terminate()
        receiver.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _measure(wanted: argparse.Namespace, server: subprocess.Popen[bytes], folder: Path, door: int, key: str) -> None:
    from postroad.serve import ControlError, ask

    def status() -> list[Any]:
        try:
            answer: list[Any] = ask(folder / "data", "status")
        except ControlError:
            return [1, 1, None]
        return answer

    until(lambda: status()[2] is not None, 60)
    client = Client(door, key)
    for number in range(wanted.singles // 10):
        client.post(mailing([f"w{number}@d{number % 50}.test"]))
    until(lambda: status()[:2] == [0, 0], 120)

    began, spent = time.monotonic(), engines_cpu(server.pid)
    for number in range(wanted.singles):
        client.post(mailing([f"s{number}@d{number % 50}.test"]))
    answered = time.monotonic() - began
    until(lambda: status()[:2] == [0, 0], 120)
    cpu = engines_cpu(server.pid) - spent
    print(
        f"one recipient: {wanted.singles} requests on one connection, {answered / wanted.singles * 1000:.2f} ms each; "
        f"{cpu / wanted.singles * 1000:.3f} ms CPU each, delivery included"
    )

    began, spent = time.monotonic(), engines_cpu(server.pid)
    number = client.post(mailing([f"r{at}@d{at % 50}.test" for at in range(wanted.recipients)]))["id"]
    answered = time.monotonic() - began

    def over() -> bool:
        rows = ask(folder / "data", "transmissions", id=number)["transmissions"]
        return bool(rows) and rows[0]["state"] == "Success"

    until(over, 1200)
    generated = time.monotonic() - began
    until(lambda: status()[:2] == [0, 0], 1200)
    ended = time.monotonic() - began
    cpu = engines_cpu(server.pid) - spent
    print(
        f"{wanted.recipients} recipients: answered after {answered:.2f} s, generated after {generated:.2f} s "
        f"({wanted.recipients / generated:.0f} a second), delivered after {ended:.2f} s "
        f"({wanted.recipients / ended:.0f} a second); {cpu / wanted.recipients * 1000:.3f} ms CPU a recipient"
    )


if __name__ == "__main__":
    main()
