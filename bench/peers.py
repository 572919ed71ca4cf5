"""The mail servers that are measured: Postroad, and Postfix as its own tuning documents say (bench.md)."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.machine import BenchError, free_port, program, running, wait_for_banner

DURABILITY = "power"

_POSTROAD = """
[server]
hostname = "postroad.test"
data_dir = "data"
durability = "{durability}"
engines = {engines}

[[listener]]
address = "127.0.0.1:{port}"
relay = true

[http]
address = ""

[delivery]
gateway = "127.0.0.1:{next_hop}"
prohibited_hosts = []
max_connections = 30
{extra}
"""


def postroad_config(
    folder: Path, port: int, next_hop: int, extra: str = "", durability: str = DURABILITY, engines: int = 1
) -> Path:
    path = folder / "postroad.toml"
    path.write_text(_POSTROAD.format(port=port, next_hop=next_hop, extra=extra, durability=durability, engines=engines))
    return path


@contextlib.contextmanager
def postroad(folder: Path, next_hop: int, extra: str = "", engines: int = 1) -> Iterator[tuple[int, int]]:
    """(port, pid) of a running Postroad that relays everything to next_hop."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = postroad_config(folder, port, next_hop, extra, engines=engines)
    with (
        (folder / "log").open("ab") as log,
        running([sys.executable, "-m", "postroad", "serve", "--config", str(config)], port, stderr=log) as process,
    ):
        yield port, process.pid


_MAIN_CF = """
compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
queue_directory = {base}/spool
data_directory = {base}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/log/mail.log
maillog_file_prefixes = {base}
myhostname = postfix.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{next_hop}
append_dot_mydomain = no
biff = no
smtpd_relay_restrictions = permit_mynetworks, reject
in_flow_delay = 0
smtp_connection_cache_destinations = [127.0.0.1]:{next_hop}
smtp_destination_concurrency_limit = 50
initial_destination_concurrency = 20
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
local_header_rewrite_clients =
receive_override_options = no_address_mappings
smtp_tls_security_level = none
default_process_limit = 200
message_size_limit = 52428800
"""

# The services a relay needs; the rest of the stock master.cf would only add idle processes.
_MASTER_CF = """
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextlib.contextmanager
def postfix(next_hop: int, extra: str = "", transport: str = "") -> Iterator[tuple[int, int]]:
    """(port, pid of master) of a running tuned Postfix with a queue of its own. extra: more lines of main.cf.
    transport: lines of a regexp table of next hops."""
    if os.geteuid():
        raise BenchError("Postfix has to be started by root; run the benchmark as root or with --no-postfix")
    port = free_port()
    # Every folder on the way has to be open to Postfix's own user.
    base = Path("/var/tmp") / f"postroad-bench-{port}"
    etc = base / "etc"
    for name in ("etc", "spool", "data", "log"):
        (base / name).mkdir(parents=True)
    owner = pwd.getpwnam("postfix")
    os.chown(base / "data", owner.pw_uid, owner.pw_gid)
    if transport:
        (etc / "transport").write_text(transport)
        extra += f"\ntransport_maps = regexp:{etc}/transport\n"
    (etc / "main.cf").write_text(_MAIN_CF.format(base=base, next_hop=next_hop) + extra)
    (etc / "master.cf").write_text(_MASTER_CF.format(port=f"127.0.0.1:{port}"))
    try:
        command = [program("postfix"), "-c", str(etc)]
        subprocess.run([*command, "start"], check=True, capture_output=True, timeout=60)
        pid = int((base / "spool/pid/master.pid").read_text())
        wait_for_banner(port)
        yield port, pid
    except subprocess.CalledProcessError as error:
        raise BenchError(f"postfix does not start: {error.stderr.decode(errors='replace')}") from error
    finally:
        subprocess.run([program("postfix"), "-c", str(etc), "stop"], check=False, capture_output=True, timeout=60)
        shutil.rmtree(base, ignore_errors=True)
