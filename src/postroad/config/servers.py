"""The server itself: who it is, where it keeps things, who may ask it over HTTP."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from postroad.config.listeners import CertificateOptions
from postroad.config.terms import Durability, Duration, Section, Size, TlsVersion


class ServerOptions(Section, frozen=True, kw_only=True):
    """Who we are and where we keep things."""

    hostname: Annotated[str, Meta(description="Our own name: in banners, EHLO, Received fields and Message-IDs.")] = (
        "localhost.localdomain"
    )
    bounce_host: Annotated[
        str, Meta(description='Where bounces come to; CNAME or MX of a sending domain must name it. "": hostname.')
    ] = ""
    data_dir: Annotated[
        str,
        Meta(description="Folder of journal, cursors and control socket; relative to the file's folder."),
    ] = "data"
    durability: Annotated[
        Durability,
        Meta(description="What an acknowledged message survives: power (synced), process (written), memory (neither)."),
    ] = "power"
    memory_goal: Annotated[
        Size, Meta(description="Bytes of message bodies kept in memory; the rest is read back from the journal.")
    ] = Size(256 << 20)
    engines: Annotated[
        int, Meta(ge=1, le=32, description="Engine processes that share the work; about one for each processor core.")
    ] = 1
    drain_time: Annotated[Duration, Meta(description="How long a stopping server lets open sessions finish.")] = (
        Duration(30)
    )
    stuck_after: Annotated[
        Duration,
        Meta(
            description="How long (2 s at the least) a process may do nothing before it is started anew. 0: for ever."
        ),
    ] = Duration(60)


class ApiKey(Section, frozen=True, kw_only=True):
    """A key for the HTTP API. Only its hash is kept."""

    label: Annotated[str, Meta(description="Name of the key, for people.")]
    sha256: Annotated[
        str,
        Meta(
            description="SHA-256 of the key, hexadecimal.",
            pattern="^[0-9a-f]{64}$",
        ),
    ]
    networks: Annotated[list[str], Meta(description="Networks the key may be used from; empty: any.")] = field(
        default_factory=list
    )
    grants: Annotated[
        list[str],
        Meta(description="What it may do: transmissions, metrics (scrape them), admin (the console's), smtp (AUTH)."),
    ] = field(default_factory=lambda: ["transmissions"])
    rate: Annotated[float, Meta(ge=0, description="HTTP requests a second; 0: as `http` says.")] = 0.0


class SmtpUser(Section, frozen=True, kw_only=True):
    """Who may log in by SMTP AUTH. Only a hash of the password is kept."""

    name: Annotated[str, Meta(description="What the client gives as user name.")]
    password: Annotated[
        str,
        Meta(
            description="SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey; `postroad smtp-user` makes it.",
            extra={"secret": True},
        ),
    ]
    senders: Annotated[list[str], Meta(description='Addresses and "@domains" it may use in MAIL FROM; empty: any.')] = (
        field(default_factory=list)
    )
    relay: Annotated[bool, Meta(description="May it send anywhere, where the listener's auth_relay says so?")] = True


class HttpOptions(Section, frozen=True, kw_only=True):
    """The HTTP API."""

    address: Annotated[str, Meta(description='HOST:PORT; "" turns HTTP off.')] = "127.0.0.1:8025"
    max_body: Annotated[Size, Meta(description="Largest request body, after decompression.")] = Size(50 << 20)
    max_content: Annotated[Size, Meta(description="Largest message built from a transmission.")] = Size(20 << 20)
    max_recipients: Annotated[int, Meta(ge=1, description="Recipients of one transmission; more get 422.")] = 100_000
    max_in_flight: Annotated[
        Size, Meta(description="Bytes of request bodies held in memory at once; requests above it get 429.")
    ] = Size(256 << 20)
    max_connections: Annotated[int, Meta(ge=1, description="Connections open at once; more are closed with 503.")] = (
        10_000
    )
    idle_time: Annotated[
        Duration, Meta(description="Silence before a connection is closed, and the longest a request's head may take.")
    ] = Duration(75)
    request_time: Annotated[
        Duration, Meta(ge=1, description="Longest time a request may take to arrive; then the connection is closed.")
    ] = Duration(600)
    job_above: Annotated[
        int,
        Meta(
            ge=0,
            description="Transmissions to more recipients than this are answered when the request is kept, and "
            "generated afterwards.",
        ),
    ] = 1
    job_room: Annotated[
        int, Meta(ge=1, description="Messages queued in an engine above which generation waits for delivery.")
    ] = 50_000
    schedule_ahead: Annotated[
        Duration, Meta(description="How far ahead options.start_time of a transmission may be; farther gets 422.")
    ] = Duration(31_536_000)
    schedule_delete: Annotated[
        Duration, Meta(ge=60, description="Time before its start from which on a transmission can't be deleted.")
    ] = Duration(600)
    rate: Annotated[
        float,
        Meta(
            ge=0, description="Requests a second a key may make of all but POST /transmissions; more get 429. 0: any."
        ),
    ] = 0.0
    transmission_rate: Annotated[
        float, Meta(ge=0, description="The same for POST /transmissions, in each engine. 0: any.")
    ] = 0.0
    rate_burst: Annotated[int, Meta(ge=1, description="How many of them may come at once.")] = 50
    tls_address: Annotated[str, Meta(description='HOST:PORT of the same API over TLS; "": none.')] = ""
    certificates: Annotated[list[CertificateOptions], Meta(description="Certificates of `tls_address`.")] = field(
        default_factory=list
    )
    tls_min_version: Annotated[TlsVersion, Meta(description="Oldest TLS version that clients may use.")] = "1.2"
    keys: Annotated[list[ApiKey], Meta(description="API keys.")] = field(default_factory=list)


# Behaviour: momentum.md 3.2. (The doc strings of sections and options are what users read.)
class EngagementOptions(Section, frozen=True, kw_only=True):
    """Links that are followed, mails that are opened."""

    tracking: Annotated[
        str,
        Meta(
            description="Where links, pixels and List-Unsubscribe of generated mail lead, https://click.example.com. "
            "Empty: links stay as they are. What is behind it must answer /f, /o, /q and /u; no part of this version "
            "does so yet.",
            pattern=r"^(https?://[A-Za-z0-9.\-]{1,255}(:[0-9]{1,5})?)?\Z",
        ),
    ] = ""


class DnsOptions(Section, frozen=True, kw_only=True):
    """How we look names up."""

    servers: Annotated[
        list[str], Meta(description="HOST or HOST:PORT of resolvers; empty: those of /etc/resolv.conf.")
    ] = field(default_factory=list)
    timeout: Annotated[Duration, Meta(description="Wait for one server's answer.")] = Duration(5)
    attempts: Annotated[int, Meta(ge=1, description="Rounds over all servers.")] = 2
    min_ttl: Annotated[Duration, Meta(description="Shortest time an answer is kept, whatever its TTL.")] = Duration(5)
    max_ttl: Annotated[Duration, Meta(description="Longest time an answer is kept.")] = Duration(86400)
    negative_ttl: Annotated[
        Duration, Meta(description="How long an absent name is remembered when its SOA does not say.")
    ] = Duration(60)
    failure_ttl: Annotated[
        Duration, Meta(description="How long a failed look-up (time-out, SERVFAIL) is remembered.")
    ] = Duration(15)
    cache_size: Annotated[int, Meta(ge=100, description="Names kept in the cache.")] = 100_000
    validating: Annotated[
        bool,
        Meta(description="The resolvers validate DNSSEC: believe the AD bit of those on this machine. DANE needs it."),
    ] = False


class TlsReportOptions(Section, frozen=True, kw_only=True):
    """Daily reports to the domains that ask for them, on how sessions with their hosts were encrypted (RFC 8460)."""

    send: Annotated[bool, Meta(description="Count sessions and send reports. They need DKIM to be taken.")] = False
    organization: Annotated[str, Meta(description='Who reports; "": server.hostname.')] = ""
    contact: Annotated[str, Meta(description="Mail address they come from, and of those who can answer questions.")] = (
        ""
    )


class JournalOptions(Section, frozen=True, kw_only=True):
    """The append-only log of mail and events."""

    segment_size: Annotated[Size, Meta(ge=1 << 16, description="Bytes of one segment file.")] = Size(64 << 20)
    commit_delay: Annotated[Duration, Meta(description="How long a commit waits for company.")] = Duration(0.0005)
    event_retention: Annotated[Duration, Meta(description="How long events are kept for consumers.")] = Duration(86400)
    event_retention_size: Annotated[Size, Meta(description="Bytes of events kept at the most.")] = Size(4 << 30)
    compact_below: Annotated[
        float, Meta(ge=0, le=1, description="Live share below which a mail segment is rewritten.")
    ] = 0.25
    min_free: Annotated[Size, Meta(description="Free bytes on the disk below which new mail is refused.")] = Size(
        256 << 20
    )


class StoreOptions(Section, frozen=True, kw_only=True):
    """Where templates, lists, suppressions, keys and domains are kept."""

    url: Annotated[
        str,
        Meta(
            description="postgresql://USER@HOST/NAME; empty: SQLite, postroad.db in the data folder. "
            "A password is better kept in ~/.pgpass than here.",
            extra={"secret": True},
        ),
    ] = ""
    timeout: Annotated[
        Duration, Meta(description="How long a change waits for another one, or for the database server.")
    ] = Duration(10)
