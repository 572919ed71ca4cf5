"""What a type alone can't say: addresses, networks and names must be well formed, and options must fit each other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from postroad.config.curfew import parse_window
from postroad.config.listenerrules import authentication_problems, listener_problems, user_problems
from postroad.config.openness import openness, too_wide
from postroad.config.schema import Config, ListenerOptions, Section
from postroad.config.tlsrules import tls_problems
from postroad.config.ways import parse_way

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Path = tuple[str | int, ...]

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_SECRET_PLACE = re.compile(r"(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)\Z")
_DOMAIN = re.compile(r"\.?(?:[A-Za-z0-9_\-]{1,63}\.)*[A-Za-z0-9_\-]{1,63}\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]{1,64}@[A-Za-z0-9.\-]{1,253}\Z")
EVERYWHERE: tuple[Network, Network] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


class Finding(NamedTuple):
    """fatal: the configuration can't be used; else it is a warning. path: names and list indexes."""

    path: Path
    text: str
    fatal: bool = True


def split_address(text: str) -> tuple[str, int]:
    """ "127.0.0.1:25", "[::1]:25", "mx.example:25" -> host without brackets, port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("must be HOST:PORT or [IPv6]:PORT")
    if host.startswith("[") and host.endswith("]") and _is_address(host[1:-1], 6):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if not _HOSTNAME.match(host):
        raise ValueError("must be HOST:PORT; an IPv6 address stands in [brackets]")
    return host, int(port)


def findings(config: Config) -> Iterator[Finding]:
    yield from _server(config)
    yield from _unique_addresses(config)
    for index, listener in enumerate(config.listener):
        yield from _listener(listener, ("listener", index))
        yield from _listener_security(listener, ("listener", index))
        name = listener.authserv_id or config.server.hostname
        for option, text in authentication_problems(listener, [key.domain for key in config.dkim], name):
            yield Finding(("listener", index, option), text)
    for index, text in user_problems(config.smtp_user):
        yield Finding(("smtp_user", index), text)
    yield from _http(config)
    yield from _queue(config)
    yield from values(config.delivery, ("delivery",))
    yield from _dns(config)
    contact = config.tls_reports.contact
    if config.tls_reports.send and not _ADDRESS.match(contact):
        yield Finding(("tls_reports", "contact"), "must be a mail address, as reports are to be sent")


def _server(config: Config) -> Iterator[Finding]:
    hostname = config.server.hostname
    if not _HOSTNAME.match(hostname):
        yield Finding(("server", "hostname"), "is not a host name")
    elif hostname == "localhost.localdomain" and config.listener:
        yield Finding(("server", "hostname"), "is not set: other hosts will be told localhost.localdomain", False)
    if "\0" in config.server.data_dir:
        yield Finding(("server", "data_dir"), "holds a NUL character")
    if config.server.durability == "memory":
        yield Finding(("server", "durability"), "with memory, accepted mail is lost when the process ends", False)
    if not config.listener and not config.http.address:
        yield Finding(("listener",), "neither SMTP nor HTTP listens: no mail can come in", False)


def _unique_addresses(config: Config) -> Iterator[Finding]:
    """Two sockets can't share a port, nor can an address beside the wildcard of its family."""
    places: list[tuple[Path, str]] = [
        (("listener", index, "address"), listener.address) for index, listener in enumerate(config.listener)
    ]
    if config.http.address:
        places.append((("http", "address"), config.http.address))
    if config.http.tls_address:
        places.append((("http", "tls_address"), config.http.tls_address))
    seen: list[tuple[str, int, str]] = []
    for path, text in places:
        try:
            host, port = split_address(text)
        except ValueError as error:
            yield Finding(path, str(error))
            continue
        for other, other_port, other_text in seen:
            if port == other_port != 0 and _overlap(host, other):
                yield Finding(path, f"{text} is taken by {other_text}")
                break
        seen.append((host, port, text))


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    wildcard = {"0.0.0.0": 4, "::": 6}
    return any(_is_address(b, wildcard[a]) for a, b in ((one, other), (other, one)) if a in wildcard)


def _listener(listener: ListenerOptions, path: Path) -> Iterator[Finding]:
    for index, domain in enumerate(listener.relay_domains):
        if not domain.isascii() or not _DOMAIN.match(domain):
            yield Finding((*path, "relay_domains", index), "must be a domain (in A-labels), or one after a dot")
        elif too_wide(domain):
            text = f"lets everybody send to every domain below {domain}: that makes this an open relay"
            yield Finding((*path, "relay_domains", index), text, fatal=False)
    if listener.postmaster and not _ADDRESS.match(listener.postmaster):
        yield Finding((*path, "postmaster"), "must be a mailbox, as in postmaster@example.com")
    seen: dict[Network, int] = {}
    for index, peer in enumerate(listener.peers):
        place = (*path, "peers", index, "network")
        try:
            network = _network(peer.network)
        except ValueError as error:
            yield Finding(place, str(error))
            continue
        if network in seen:
            yield Finding(place, f"{peer.network} has options in peers[{seen[network]}] already")
        seen[network] = index
    yield from _openness(listener, path, seen)


def _openness(listener: ListenerOptions, path: Path, networks: Mapping[Network, int]) -> Iterator[Finding]:
    """An open relay is abused within an hour, however it was written down."""
    found = openness(listener)
    if any(each.by_default for each in found) and _reachable(listener.address):
        yield Finding(
            (*path, "relay"),
            "on an address that all can reach makes this an open relay; allow the networks of your clients in peers",
        )
        return
    for each in found:
        relaying = [n for n, at in networks.items() if n.version == each.version and listener.peers[at].relay]
        if not each.too_wide or not relaying or each.by_default:
            continue
        widest = min(relaying, key=lambda network: network.prefixlen)
        if each.share > 0.999:
            text = "makes this an open relay for the whole Internet"
        else:
            text = f"and those beside it let {each.share:.1%} of all public IPv{each.version} addresses relay"
        yield Finding((*path, "peers", networks[widest], "relay"), text, fatal=False)


def _listener_security(listener: ListenerOptions, path: Path) -> Iterator[Finding]:
    for name, index, text in listener_problems(listener):
        yield Finding((*path, name) if index is None else (*path, name, index), text)
    for name in ("proxy_networks", "xclient_networks"):
        yield from _networks(getattr(listener, name), (*path, name))


def _reachable(address: str) -> bool:
    """May hosts of the Internet reach a listener there? A name may mean anything."""
    try:
        host = ipaddress.ip_address(split_address(address)[0])
    except ValueError:
        return not address.startswith("localhost:")
    return host.is_unspecified or host.is_global


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text[:60]} is not a network such as 10.0.0.0/8 or 2001:db8::/32") from None
    raise ValueError(f"{text} has bits set behind the prefix; did you mean {meant}?")


def _networks(texts: Iterable[str], path: Path) -> Iterator[Finding]:
    for index, text in enumerate(texts):
        try:
            _network(text)
        except ValueError as error:
            yield Finding((*path, index), str(error))


def _http(config: Config) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, key in enumerate(config.http.keys):
        yield from _networks(key.networks, ("http", "keys", index, "networks"))
        if key.sha256 in seen:
            yield Finding(("http", "keys", index, "sha256"), f"is the key of keys[{seen[key.sha256]}] already")
        seen[key.sha256] = index
    if config.http.tls_address and not config.http.certificates:
        yield Finding(("http", "certificates"), "TLS needs at least one")
    if config.http.tls_address and not config.http.address:
        yield Finding(("http", "tls_address"), "needs http.address beside it")
    if config.http.address and not config.http.keys:
        yield Finding(("http", "keys"), "there is no key: every request will be refused", False)


def _queue(config: Config) -> Iterator[Finding]:
    queue = config.queue
    yield from values(queue, ("queue",))
    if queue.retry_interval > queue.max_retry_interval:
        yield Finding(("queue", "retry_interval"), "is longer than max_retry_interval")
    if queue.retry_interval > queue.message_expiration:
        yield Finding(("queue", "retry_interval"), "is longer than message_expiration: nothing is tried twice", False)


def values(section: Section, path: Path) -> Iterator[Finding]:
    """What [delivery], [queue] and all scopes may hold, wherever it stands. None: not set."""
    for name in ("retry_interval", "max_retry_interval", "message_expiration"):
        value = getattr(section, name, None)
        if value is not None and not value > 0:
            yield Finding((*path, name), "must be more than 0")
    for name, version in (("source_address", 4), ("source_address6", 6)):
        text = getattr(section, name, None)
        if text and not _is_address(text, version):
            yield Finding((*path, name), f"is not an IPv{version} address")
    hello = getattr(section, "ehlo_hostname", None)
    if hello and not _HOSTNAME.match(hello):
        yield Finding((*path, "ehlo_hostname"), "is not a host name")
    gateway = getattr(section, "gateway", None)
    if gateway:
        try:
            _, port = split_address(gateway)
        except ValueError as error:
            yield Finding((*path, "gateway"), str(error))
        else:
            if port == 0:
                yield Finding((*path, "gateway"), "port 0 can't be connected to")
    for index, text in enumerate(getattr(section, "routes", None) or ()):
        try:
            parse_way(text, index)
        except ValueError as error:
            yield Finding((*path, "routes", index), str(error))
    secret = getattr(section, "smtp_auth_secret", None)
    if secret and not _SECRET_PLACE.match(secret):
        # Not repeated: it may be the secret itself.
        yield Finding((*path, "smtp_auth_secret"), 'must be "file:/absolute/path" or "env:NAME"')
    yield from _networks(getattr(section, "prohibited_hosts", None) or (), (*path, "prohibited_hosts"))
    for index, text in enumerate(getattr(section, "curfew", None) or ()):
        try:
            parse_window(text)
        except ValueError as error:
            yield Finding((*path, "curfew", index), str(error))
    for name, problem in tls_problems(section):
        yield Finding((*path, name), problem)


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _dns(config: Config) -> Iterator[Finding]:
    for index, server in enumerate(config.dns.servers):
        if not _is_address(server, 4) and not _is_address(server, 6):
            try:
                host, _ = split_address(server)
                ipaddress.ip_address(host)
            except ValueError:
                yield Finding(("dns", "servers", index), "must be an IP address, IPv4:PORT or [IPv6]:PORT")
    if config.dns.validating:
        for index, server in enumerate(config.dns.servers):
            if not server.startswith(("127.", "[::1]", "::1")):
                text = "is not on this machine: with dns.validating, anybody on the way to it could undo DANE"
                yield Finding(("dns", "servers", index), text)
    if config.dns.min_ttl > config.dns.max_ttl:
        yield Finding(("dns", "min_ttl"), "is longer than max_ttl")
