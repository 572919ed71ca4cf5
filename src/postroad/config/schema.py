"""Every option of Postroad, declared once: name, type, default, unit and what it does.

The reference page, the commented file that `postroad init` writes and `postroad config explain` are made from this.
Times are seconds (`Duration`), sizes are bytes (`Size`); a file may write "20m", "12h", "5d", "64KB", "20MB" as well.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field


class Duration(float):
    """Seconds. In a file: a number, or text such as "500ms", "30s", "20m", "12h", "5d"."""


class Size(int):
    """Bytes. In a file: a whole number, or text such as "64KB", "20MB", "2GB" (powers of 1024)."""


class Rate(tuple[tuple[int, float], ...]):
    """(how many, in so many seconds), all of which hold at once, the shortest window first; () is no limit.

    In a file: text such as "100/s" or "100/s, 20000/h, 300000/d".
    """

    __slots__ = ()


NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)

Durability = Literal["power", "process", "memory"]
Growth = Literal["normal", "high"]
Blackhole = Literal["no", "discard", "fail"]
DeliveryMethod = Literal["smtp", "lmtp"]
AuthMechanism = Literal["any", "SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2"]
Tls = Literal["no", "if-available", "required"]
TlsVerify = Literal["none", "ca", "host"]
TlsVersion = Literal["1.2", "1.3"]
ListenerKind = Literal["smtp", "submission", "lmtp"]
ListenerTls = Literal["no", "offered", "required", "implicit"]
ListenerTlsClient = Literal["no", "optional", "required"]
DmarcUse = Literal["none", "tag", "enforce"]
HelloCheck = Literal["no", "syntax", "dns"]
DnsListKind = Literal["address", "domain"]
OnError = Literal["tempfail", "continue"]
RuleAction = Literal["continue", "accept", "reject", "tempfail", "disconnect", "discard", "tarpit", "retry", "fail"]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file. Unknown names are errors."""


class ServerOptions(Section, frozen=True, kw_only=True):
    """Who we are and where we keep things."""

    hostname: Annotated[str, Meta(description="Our own name: in banners, EHLO, Received fields and Message-IDs.")] = (
        "localhost.localdomain"
    )
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


class CertificateOptions(Section, frozen=True, kw_only=True):
    """A certificate of a listener. The files are read again at a reload."""

    certificate: Annotated[str, Meta(description="PEM file of the certificate and those that lead to its authority.")]
    key: Annotated[str, Meta(description='PEM file of its private key, without password; "": in the same file.')] = ""
    names: Annotated[
        list[str], Meta(description='Names clients ask for it by ("*.example.com" too). Empty: those it is for.')
    ] = field(default_factory=list)


class DnsListOptions(Section, frozen=True, kw_only=True):
    """A DNS block list. A list that does not answer lists nobody."""

    zone: Annotated[str, Meta(description='Zone to ask, as in "bl.example.net".')]
    kind: Annotated[
        DnsListKind, Meta(description="What is asked for: the client's address, or the sender's and EHLO's domains.")
    ] = "address"
    answers: Annotated[
        list[str],
        Meta(description='Answers that count, as in "127.0.0.2", "127.0.0.0/29". Empty: all of 127.0.0.0/24.'),
    ] = field(default_factory=list)
    text: Annotated[str, Meta(description='Text of the refusal; "": names the zone.')] = ""


class PeerOptions(Section, frozen=True, kw_only=True):
    """Overrides for clients of one network. Absent options fall back to the listener's."""

    network: Annotated[str, Meta(description="CIDR of the clients; the most specific match wins.")]
    allow: Annotated[bool | None, Meta(description="false: refuse the connection with 554.")] = None
    relay: Annotated[bool | None, Meta(description="May these clients send to any domain?")] = None
    max_message_size: Size | None = None
    max_recipients: int | None = None
    max_sessions: int | None = None
    max_messages_per_session: int | None = None
    idle_time: Duration | None = None
    smtputf8: bool | None = None
    hygiene: bool | None = None


class ListenerOptions(Section, frozen=True, kw_only=True):
    """One SMTP listener."""

    address: Annotated[str, Meta(description="HOST:PORT or [IPv6]:PORT to listen on.")] = "127.0.0.1:2525"
    relay: Annotated[
        bool,
        Meta(description="May every client of this listener send anywhere? An open relay is abused in an hour."),
    ] = False
    group: Annotated[
        str, Meta(description='Group that gives mail of this listener its binding; "": see delivery.default_binding.')
    ] = ""
    binding: Annotated[str, Meta(description="Binding of all mail of this listener, instead of a group.")] = ""
    relay_domains: Annotated[
        list[str], Meta(description='Domains anybody may send to ("example.com", ".example.com" with its subdomains).')
    ] = field(default_factory=list)
    postmaster: Annotated[
        str,
        Meta(
            description='Mailbox that gets what is sent to postmaster at our host name (RFC 5321 4.5.1); "": refused.'
        ),
    ] = ""
    peers: Annotated[list[PeerOptions], Meta(description="Options by client network.")] = field(default_factory=list)
    banner: Annotated[str, Meta(description="Text after the 220 and our host name.")] = "ESMTP Postroad"
    backlog: Annotated[int, Meta(ge=1, description="Connections the system holds until we take them.")] = 500
    max_sessions: Annotated[
        int, Meta(ge=1, description="Sessions open at once on this listener; more get 421 4.4.5.")
    ] = 10_000
    max_sessions_per_peer: Annotated[
        int, Meta(ge=0, description="Sessions open at once from one address; 0: no limit.")
    ] = 1000
    max_message_size: Annotated[
        Size, Meta(description="Largest message, in octets, announced as SIZE; 552 5.3.4 above it.")
    ] = Size(50 << 20)
    max_recipients: Annotated[int, Meta(ge=1, description="Recipients of one transaction; more get 452 4.5.3.")] = 1000
    max_messages_per_session: Annotated[
        int, Meta(ge=0, description="Transactions of one session; then 421. 0: no limit.")
    ] = 0
    max_line_length: Annotated[
        int,
        Meta(
            ge=998,
            description="Octets of one line of content; longer ones get 554 5.6.0.",
        ),
    ] = 65_536
    max_command_length: Annotated[int, Meta(ge=512, description="Octets of one command line.")] = 4096
    max_bad_commands: Annotated[
        int, Meta(ge=1, description="Errors and refusals since a session's last accepted message before 421 4.7.0.")
    ] = 20
    max_idle_commands: Annotated[
        int, Meta(ge=1, description="RSET, NOOP, VRFY, HELP and EHLO since a session's last message before 421 4.7.0.")
    ] = 100
    max_rejection_events: Annotated[
        int, Meta(ge=0, description="Refusals a minute that are events, of one address; the rest is one. 0: no limit.")
    ] = 60
    max_headers_size: Annotated[Size, Meta(description="Octets of the header section; larger gets 554 5.6.0.")] = Size(
        1 << 20
    )
    max_hops: Annotated[
        int, Meta(ge=1, description="Received fields before the message counts as looping (554 5.4.6).")
    ] = 100
    max_own_hops: Annotated[
        int, Meta(ge=1, description="Received fields of this host name before the message counts as looping.")
    ] = 4
    idle_time: Annotated[Duration, Meta(description="Silence before a session is closed with 421 4.4.2.")] = Duration(
        300
    )
    message_time: Annotated[Duration, Meta(description="Longest time one message's content may take to arrive.")] = (
        Duration(1800)
    )
    session_time: Annotated[
        Duration, Meta(ge=1, description="Age at which a session ends with 421 4.4.2 when no message is under way.")
    ] = Duration(14400)
    max_unfinished: Annotated[
        Size,
        Meta(
            description="Octets of arriving messages in memory at once; then big ones get 452 4.3.1, small ones pass."
        ),
    ] = Size(512 << 20)
    smtputf8: Annotated[bool, Meta(description="Announce SMTPUTF8 (RFC 6531).")] = True
    trace: Annotated[bool, Meta(description="Put a Received field in front of each message.")] = True
    add_missing: Annotated[
        bool, Meta(description="Add Date and Message-ID where a message of a relaying client lacks them (RFC 6409 8).")
    ] = True
    kind: Annotated[
        ListenerKind,
        Meta(description="smtp; submission (RFC 6409: nobody sends before AUTH); lmtp (RFC 2033)."),
    ] = "smtp"
    tls: Annotated[
        ListenerTls,
        Meta(description="STARTTLS offered, or required before MAIL; implicit: TLS from the first octet (port 465)."),
    ] = "no"
    certificates: Annotated[
        list[CertificateOptions], Meta(description="Certificates; the first is for clients that name no other (SNI).")
    ] = field(default_factory=list)
    tls_min_version: Annotated[TlsVersion, Meta(description="Oldest TLS version that clients may use.")] = "1.2"
    tls_ciphers: Annotated[str, Meta(description='OpenSSL cipher list for TLS 1.2; "": the default one.')] = ""
    tls_client: Annotated[
        ListenerTlsClient, Meta(description="Ask clients for a certificate; one that is not good ends the session.")
    ] = "no"
    tls_client_ca: Annotated[str, Meta(description="PEM file of the authorities whose client certificates count.")] = ""
    tls_client_relay: Annotated[bool, Meta(description="May clients with a good certificate send anywhere?")] = False
    auth: Annotated[
        bool, Meta(description="Offer AUTH (RFC 4954), for smtp_user and API keys with the grant smtp.")
    ] = False
    auth_mechanisms: Annotated[list[str], Meta(description="Those that are offered, in this order.")] = field(
        default_factory=lambda: ["SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2"]
    )
    auth_without_tls: Annotated[bool, Meta(description="Offer AUTH also where TLS does not hide the password.")] = False
    auth_relay: Annotated[bool, Meta(description="May users that have logged in send anywhere?")] = True
    proxy_networks: Annotated[
        list[str],
        Meta(description="Networks of load balancers: their connections must begin with a PROXY header (v1 or v2)."),
    ] = field(default_factory=list)
    proxy_time: Annotated[Duration, Meta(description="Longest time a PROXY header may take to arrive.")] = Duration(5)
    xclient_networks: Annotated[
        list[str], Meta(description="Networks of relays that may say by XCLIENT whom they speak for.")
    ] = field(default_factory=list)
    hygiene: Annotated[
        bool, Meta(description="Apply the checks below to strangers; who may relay or has logged in is none.")
    ] = True
    early_talk_delay: Annotated[
        Duration, Meta(description="Wait before the greeting; who speaks in it is refused (554). 0: no wait.")
    ] = Duration(0)
    hello_check: Annotated[
        HelloCheck, Meta(description="Refuse EHLO names: syntax: those that are no domain, or lie; dns: unknown ones.")
    ] = "no"
    sender_check: Annotated[
        bool, Meta(description="Refuse senders whose domain has no mail host (550 5.1.8); 450 while DNS is silent.")
    ] = False
    dns_lists: Annotated[list[DnsListOptions], Meta(description="DNS block lists (RFC 5782).")] = field(
        default_factory=list
    )
    peer_connection_rate: Annotated[
        Rate, Meta(description='Connections of one address, as in "30/60s"; more get 421 4.7.0. "": no limit.')
    ] = Rate(())
    peer_message_rate: Annotated[Rate, Meta(description="MAIL commands of one address; more get 450 4.7.0.")] = Rate(())
    peer_recipient_rate: Annotated[Rate, Meta(description="RCPT commands of one address; more get 450 4.7.0.")] = Rate(
        ()
    )
    peer_error_rate: Annotated[
        Rate, Meta(description="Refusals one address may earn; then its connections get 421 4.7.0.")
    ] = Rate(())
    error_delay: Annotated[
        Duration, Meta(description="Tarpit: wait before a refused recipient hears of it. 0: no wait.")
    ] = Duration(0)
    authenticate: Annotated[
        bool,
        Meta(
            description="Check SPF, DKIM, ARC and DMARC of mail from those who may not relay; put "
            "Authentication-Results (RFC 8601) in front, and take out what others wrote in our name."
        ),
    ] = False
    authserv_id: Annotated[
        str, Meta(description='The name in Authentication-Results; "": server.hostname. One for all hosts of a site.')
    ] = ""
    authenticate_checks: Annotated[list[str], Meta(description="Which of them: spf, dkim, arc.")] = field(
        default_factory=lambda: ["spf", "dkim", "arc"]
    )
    dmarc: Annotated[
        DmarcUse,
        Meta(description="DMARC (RFC 9989): not at all; tag what fails; enforce: refuse what its domain says (550)."),
    ] = "tag"
    authenticate_time: Annotated[
        Duration,
        Meta(ge=1, description="Longest time its look-ups may take, and once more for those of DMARC."),
    ] = Duration(10)
    arc_seal: Annotated[
        bool, Meta(description="Seal what was found (ARC, RFC 8617) with a [[dkim]] key of the authserv_id's domain.")
    ] = False


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


class QueueOptions(Section, frozen=True, kw_only=True):
    """When a message is tried again, and when we give up."""

    retry_interval: Annotated[Duration, Meta(description="Wait before the first retry; it doubles with each try.")] = (
        Duration(1200)
    )
    max_retry_interval: Annotated[Duration, Meta(description="Longest wait between tries.")] = Duration(43200)
    retry_jitter: Annotated[
        float, Meta(ge=0, le=1, description="Share of each wait that is random (0.1: up to 10 % earlier or later).")
    ] = 0.1
    message_expiration: Annotated[
        Duration, Meta(description="Age at which an undelivered message fails with 5.4.7.")
    ] = Duration(86400)
    retry_hint_min: Annotated[
        Duration, Meta(description='Shortest wait that a host\'s "try again in 5 minutes" may set for the next try.')
    ] = Duration(30)
    retry_hint_max: Annotated[
        Duration, Meta(description="The longest such wait; 0: what hosts say of when to come back is not heeded.")
    ] = Duration(14400)
    generate_bounces: Annotated[bool, Meta(description="Send a DSN to the sender of a message that failed.")] = True
    bounce_return: Annotated[
        Literal["none", "headers", "full"],
        Meta(description="What a DSN returns of the message when the sender did not say (RET)."),
    ] = "headers"
    delay_dsn: Annotated[
        bool, Meta(description="Tell the senders of messages that wait long, unless they asked not to hear of it.")
    ] = False
    delay_dsn_interval: Annotated[
        Duration, Meta(ge=60, description="Wait before the first notice of delay; it doubles with each notice.")
    ] = Duration(3600)
    delay_dsn_max_interval: Annotated[Duration, Meta(description="Longest wait between notices of delay.")] = Duration(
        43200
    )
    max_queued: Annotated[
        int, Meta(ge=0, description="Messages queued before new mail gets 452 4.3.1; 0: no limit.")
    ] = 0


# Behaviour: momentum.md 4.2, 4.3, 4.5.
class DeliveryOptions(Section, frozen=True, kw_only=True):
    """How we talk to the receivers' hosts. Bindings, groups, domains and providers may set most of it for them."""

    source_address: Annotated[
        str, Meta(description='Local IPv4 address of bindings that have none; "": the system chooses.')
    ] = ""
    source_address6: Annotated[str, Meta(description="The same for IPv6.")] = ""
    ehlo_hostname: Annotated[str, Meta(description='Name in our EHLO; "": server.hostname.')] = ""
    default_binding: Annotated[
        Literal["normal", "none", "suspended"],
        Meta(description="Mail that nothing gives a binding: is sent by `default`; gets 451 instead; is held."),
    ] = "normal"
    suspend_delivery: Annotated[bool, Meta(description="Keep the mail queued and send none; it still expires.")] = False
    curfew: Annotated[
        list[str],
        Meta(
            description='Times without deliveries: "22:00-07:00 Europe/Berlin", "Sat,Sun 00:00-24:00 UTC"; mail waits.'
        ),
    ] = field(default_factory=list)
    blackhole: Annotated[
        Blackhole,
        Meta(description="Send nothing, and end all mail with 551 5.7.1: without a DSN (discard), or with one (fail)."),
    ] = "no"
    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the receivers' hosts.")] = 25
    max_connections: Annotated[int, Meta(ge=1, description="Connections of one binding to one routing domain.")] = 32
    host_max_connections: Annotated[
        int, Meta(ge=0, description="Connections to one address of a receiver, over all bindings; 0: no limit.")
    ] = 0
    binding_max_connections: Annotated[
        int, Meta(ge=0, description="Connections of one binding, over all domains; 0: no limit.")
    ] = 0
    domain_max_connections: Annotated[
        int, Meta(ge=0, description="Connections to one domain, over all bindings; 0: no limit.")
    ] = 0
    provider_max_connections: Annotated[
        int, Meta(ge=0, description="Connections to all domains of one provider, over all bindings; 0: no limit.")
    ] = 0
    server_max_connections: Annotated[int, Meta(ge=1, description="Outgoing connections in all.")] = 20_000
    server_reserved_connections: Annotated[
        int,
        Meta(
            ge=0,
            description="The last of them, kept for paths that have none; never more than a tenth of them.",
        ),
    ] = 200
    connection_growth: Annotated[
        Growth, Meta(description="How soon a filling queue gets more connections, up to max_connections.")
    ] = "normal"
    message_rate: Annotated[
        Rate, Meta(description="Messages sent by everything together for which no narrower scope sets a rate.")
    ] = Rate()
    connection_rate: Annotated[Rate, Meta(description="The same for connections opened.")] = Rate()
    path_message_rate: Annotated[
        Rate, Meta(description="Messages sent by one binding to one domain (or provider, with rollup).")
    ] = Rate()
    path_connection_rate: Annotated[Rate, Meta(description="The same for connections opened.")] = Rate()
    max_deliveries_per_connection: Annotated[
        int, Meta(ge=0, description="Messages of one connection; then QUIT. 0: no limit.")
    ] = 0
    max_recipients_per_batch: Annotated[
        int,
        Meta(ge=1, le=1000, description="Recipients of one transaction, for messages of one sender and content."),
    ] = 1
    idle_timeout: Annotated[Duration, Meta(description="How long an idle connection is kept.")] = Duration(5)
    connect_timeout: Annotated[Duration, Meta(description="Wait for a connection.")] = Duration(30)
    banner_timeout: Annotated[Duration, Meta(description="Wait for the 220.")] = Duration(300)
    next_host_after: Annotated[
        Duration,
        Meta(description="Try the next host beside one that let a path's first connection wait for so long; 0: never."),
    ] = Duration(10)
    ehlo_timeout: Annotated[
        Duration, Meta(description="Wait for the reply to EHLO or STARTTLS, and for a TLS handshake to end.")
    ] = Duration(300)
    mail_timeout: Annotated[Duration, Meta(description="Wait for the reply to MAIL.")] = Duration(300)
    rcpt_timeout: Annotated[Duration, Meta(description="Wait for the reply to RCPT.")] = Duration(300)
    data_timeout: Annotated[Duration, Meta(description="Wait for the 354.")] = Duration(120)
    body_timeout: Annotated[Duration, Meta(description="Longest stall while the content goes out.")] = Duration(180)
    final_timeout: Annotated[
        Duration, Meta(description="Wait for the reply to the final dot (RFC 5321 4.5.3.2.6).")
    ] = Duration(600)
    quit_timeout: Annotated[Duration, Meta(description="Wait for the reply to QUIT.")] = Duration(5)
    reuse_connections: Annotated[
        bool,
        Meta(description="Take over idle connections of other domains of the binding that lead to the same host."),
    ] = True
    host_failure_retry: Annotated[
        Duration, Meta(description="How long a host that failed is avoided; doubles while it goes on failing.")
    ] = Duration(120)
    max_host_failure_retry: Annotated[Duration, Meta(description="The longest time a failing host is avoided.")] = (
        Duration(1800)
    )
    prohibited_hosts: Annotated[
        list[str],
        Meta(description="Networks no MX may lead to (5.4.6). Default: private, loopback and reserved ranges."),
    ] = field(default_factory=lambda: list(NOT_PUBLIC))
    use_ipv6: Annotated[bool, Meta(description="Deliver over IPv6 where the receiver has it.")] = True
    gateway: Annotated[str, Meta(description='HOST:PORT that all mail goes to instead of its MX; "": none.')] = ""
    routes: Annotated[
        list[str],
        Meta(
            description='Where mail goes, best first: "HOST:PORT", "[IPv6]:PORT", "unix:/path", "__mx__" (its own MX), '
            'each with "?pref=N" (equal ones share the mail) and "?type=mx" (the MX of HOST). Goes before gateway.'
        ),
    ] = field(default_factory=list)
    lmtp_port: Annotated[int, Meta(ge=1, le=65535, description="Port of hosts that are talked to in LMTP.")] = 2003
    delivery_method: Annotated[
        DeliveryMethod, Meta(description="How to talk to the hosts: SMTP, or LMTP (RFC 2033; never on port 25).")
    ] = "smtp"
    smtp_auth_user: Annotated[str, Meta(description='Log in at the hosts under this name (RFC 4954); "": do not.')] = ""
    smtp_auth_secret: Annotated[
        str, Meta(description='Where its password or token is: "file:/absolute/path" or "env:NAME".')
    ] = ""
    smtp_auth_mechanism: Annotated[
        AuthMechanism, Meta(description="The mechanism to use; any: the best of the first three that is offered.")
    ] = "any"
    smtp_auth_in_clear: Annotated[bool, Meta(description="Log in also where the session is not encrypted.")] = False
    tls: Annotated[
        Tls,
        Meta(description="Encrypt: never; where the host can, else in the clear; always, else the mail waits (4.7.4)."),
    ] = "if-available"
    tls_verify: Annotated[
        TlsVerify,
        Meta(
            description="What the host's certificate must show (4.7.5): nothing; a known authority; its name as well."
        ),
    ] = "none"
    tls_ca: Annotated[
        str,
        Meta(description='PEM file of the authorities to trust, absolute; "": those of the system.'),
    ] = ""
    tls_certificate: Annotated[
        str, Meta(description='PEM file of our certificate and its chain, absolute; "": none.')
    ] = ""
    tls_key: Annotated[str, Meta(description='PEM file of its key, absolute; "": in tls_certificate.')] = ""
    dane: Annotated[
        bool, Meta(description="Keep to the TLSA records of hosts (RFC 7672), where dns.validating lets us see them.")
    ] = True
    mta_sts: Annotated[bool, Meta(description="Keep to the MTA-STS policies of domains (RFC 8461).")] = True
    tls_min_version: Annotated[TlsVersion, Meta(description="Oldest version of TLS that counts as encrypted.")] = "1.2"
    tls_ciphers: Annotated[
        str, Meta(description='Ciphers of TLS 1.2, as OpenSSL lists them; "": those of the system.')
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


# What a scope does not set (None) is taken from the next wider one. Descriptions: those of [delivery] and [queue].
class ScopeOptions(Section, frozen=True, kw_only=True):
    """Options that bindings, groups, domains and providers may set for their mail."""

    suspend_delivery: bool | None = None
    curfew: list[str] | None = None
    blackhole: Blackhole | None = None
    ehlo_hostname: str | None = None
    port: int | None = None
    max_connections: int | None = None
    host_max_connections: int | None = None
    connection_growth: Growth | None = None
    message_rate: Rate | None = None
    connection_rate: Rate | None = None
    path_message_rate: Rate | None = None
    path_connection_rate: Rate | None = None
    max_deliveries_per_connection: int | None = None
    max_recipients_per_batch: int | None = None
    idle_timeout: Duration | None = None
    connect_timeout: Duration | None = None
    banner_timeout: Duration | None = None
    next_host_after: Duration | None = None
    ehlo_timeout: Duration | None = None
    mail_timeout: Duration | None = None
    rcpt_timeout: Duration | None = None
    data_timeout: Duration | None = None
    body_timeout: Duration | None = None
    final_timeout: Duration | None = None
    quit_timeout: Duration | None = None
    reuse_connections: bool | None = None
    host_failure_retry: Duration | None = None
    max_host_failure_retry: Duration | None = None
    prohibited_hosts: list[str] | None = None
    use_ipv6: bool | None = None
    gateway: str | None = None
    routes: list[str] | None = None
    lmtp_port: int | None = None
    delivery_method: DeliveryMethod | None = None
    smtp_auth_user: str | None = None
    smtp_auth_secret: str | None = None
    smtp_auth_mechanism: AuthMechanism | None = None
    smtp_auth_in_clear: bool | None = None
    tls: Tls | None = None
    tls_verify: TlsVerify | None = None
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    dane: bool | None = None
    mta_sts: bool | None = None
    tls_min_version: TlsVersion | None = None
    tls_ciphers: str | None = None
    retry_interval: Duration | None = None
    max_retry_interval: Duration | None = None
    retry_jitter: float | None = None
    message_expiration: Duration | None = None
    retry_hint_min: Duration | None = None
    retry_hint_max: Duration | None = None


_MATCH = Meta(
    description='Routing domain: "example.com", or a pattern: "*.example.com", "/mx[0-9]+\\.example\\.(com|net)/".'
)
_NAME = Meta(description="Its name.", pattern=r"^[A-Za-z0-9_.\-]{1,64}\Z")


class InnerDomain(ScopeOptions, frozen=True, kw_only=True):
    """A domain inside a binding, a group or a member of one: options for mail that goes from the one to the other."""

    match: Annotated[str, _MATCH]


class BindingOptions(ScopeOptions, frozen=True, kw_only=True):
    """A sending identity: usually an address and the EHLO name that belongs to it."""

    name: Annotated[str, _NAME]
    source_address: Annotated[str, Meta(description='Local IPv4 address; "" with source_address6: no IPv4.')] = ""
    source_address6: Annotated[str, Meta(description='Local IPv6 address; "" with source_address: no IPv6.')] = ""
    binding_max_connections: int | None = None
    domain: Annotated[list[InnerDomain], Meta(description="Options by domain.")] = field(default_factory=list)


class MemberOptions(Section, frozen=True, kw_only=True):
    """A binding in a group. A binding is in one group at the most."""

    binding: Annotated[str, Meta(description="Its name.")]
    weight: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Its share of the group's mail; 0: nothing new, to empty its queue.")
    ] = 1
    domain: Annotated[list[InnerDomain], Meta(description="Options by domain.")] = field(default_factory=list)


class GroupOptions(ScopeOptions, frozen=True, kw_only=True):
    """Bindings that share mail. A transmission names one by options.ip_pool, a listener by group."""

    name: Annotated[str, _NAME]
    members: Annotated[list[MemberOptions], Meta(description="The bindings in it.")] = field(default_factory=list)
    sticky: Annotated[
        Literal["none", "sender_domain", "recipient_domain"],
        Meta(description="What keeps to one binding as long as that is fit; none: chosen by weight for each message."),
    ] = "none"
    binding_max_connections: int | None = None
    domain: Annotated[list[InnerDomain], Meta(description="Options by domain.")] = field(default_factory=list)


class DomainOptions(ScopeOptions, frozen=True, kw_only=True):
    """A routing domain. Its name counts first, then the first pattern that matches."""

    match: Annotated[str, _MATCH]
    domain_max_connections: int | None = None


# What momentum.md 4.4 has as response_transcode_pattern, and more.
class ReplyOptions(Section, frozen=True, kw_only=True):
    """What to make of a refusal, before anything is concluded from it. Only the first rule that fits acts; one without
    an action keeps replies as they are."""

    name: Annotated[str, _NAME]
    binding: Annotated[str, Meta(description='Mail of this binding only; "": of all.')] = ""
    group: Annotated[str, Meta(description='Mail of the bindings of this group only; "": of all.')] = ""
    domain: Annotated[str, Meta(description='Mail for this routing domain (or pattern) only; "": for all.')] = ""
    provider: Annotated[str, Meta(description='Mail for domains of this provider only; "": for all.')] = ""
    stages: Annotated[
        list[str],
        Meta(description="What was answered: banner, ehlo, auth, mail, rcpt, data, content; empty: any of them."),
    ] = field(default_factory=list)
    codes: Annotated[list[str], Meta(description='Reply codes: "550", "45x", "4xx"; empty: any of 400 to 599.')] = (
        field(default_factory=list)
    )
    pattern: Annotated[
        str,
        Meta(description='RE2 expression found in the reply ("450 4.2.0 ..."); (?i) in front ignores case.'),
    ] = ""
    action: Annotated[
        Literal["", "temporary", "permanent"],
        Meta(description='Take it as a refusal for now (450), or for good (550); "": leave that.'),
    ] = ""
    enhanced: Annotated[str, Meta(description='The enhanced code it gets (RFC 3463), as in "4.2.1"; "": leave it.')] = (
        ""
    )
    bounce_class: Annotated[
        int | None, Meta(ge=1, le=100, description="The class it gets in events, in place of that of its codes.")
    ] = None
    wait: Annotated[Duration | None, Meta(description="When the message is tried again, in place of the schedule.")] = (
        None
    )
    samples: Annotated[
        list[str], Meta(description="Replies that must come to this rule: they are tried when the file is read.")
    ] = field(default_factory=list)


class ProviderOptions(ScopeOptions, frozen=True, kw_only=True):
    """A mailbox provider: all domains whose mail its hosts take. The first that fits counts."""

    name: Annotated[str, _NAME]
    mx_suffixes: Annotated[list[str], Meta(description="Every MX of a domain is one of these names, or below one.")] = (
        field(default_factory=list)
    )
    domains: Annotated[list[str], Meta(description="Domains (or patterns) that belong to it whatever their MX.")] = (
        field(default_factory=list)
    )
    rollup: Annotated[
        bool,
        Meta(
            description="Deliver all its domains as one path, a binding at a time: max_connections and path rates "
            "count for them together, and those with the same hosts, options and TLS policies share a queue and its "
            "connections."
        ),
    ] = False
    domain_max_connections: int | None = None
    provider_max_connections: int | None = None


class DkimOptions(Section, frozen=True, kw_only=True):
    """A key that signs what we send for a domain, and for those below it that have none of their own."""

    domain: Annotated[str, Meta(description="The domain that signs (d=): that of From fields.")]
    selector: Annotated[str, Meta(description="Under which name DNS shows the public half (s=).")]
    key: Annotated[str, Meta(description="File of the private key: as `postroad dkim keygen` writes it, or PEM.")]
    secret: Annotated[str, Meta(description="File of the secret that a sealed key opens with.")] = "dkim.secret"
    active_from: Annotated[
        str, Meta(description='When it begins to sign ("2026-12-01" or "2026-12-01T06:00:00Z"); "": it has begun.')
    ] = ""
    active_until: Annotated[str, Meta(description='When it ends; "": never.')] = ""


class PolicyOptions(Section, frozen=True, kw_only=True):
    """A plug-in: Python code that is asked in phases of a message's life."""

    name: Annotated[str, Meta(description='For logs and counters; "": the name of the file or package.')] = ""
    file: Annotated[str, Meta(description="Python file, relative to this one's folder.")] = ""
    package: Annotated[str, Meta(description="Module of an installed package, instead of a file.")] = ""
    listeners: Annotated[
        list[str], Meta(description='Listeners it is for, by their address; "http" for HTTP. Empty: all.')
    ] = field(default_factory=list)
    phases: Annotated[list[str], Meta(description="Phases it is asked in, of those it has. Empty: all.")] = field(
        default_factory=list
    )
    time_limit: Annotated[Duration, Meta(description="Longest time one call may wait.")] = Duration(5)
    on_error: Annotated[
        OnError,
        Meta(description="When it raises or takes too long: tempfail (451; the attempt is put off) or continue."),
    ] = "tempfail"
    thread: Annotated[bool, Meta(description="Call its functions in threads, because they block.")] = False
    options: Annotated[
        dict[str, Any], Meta(description="What it is told; see its own documentation.", extra={"secret": True})
    ] = field(default_factory=dict)


class RuleOptions(Section, frozen=True, kw_only=True):
    """A rule: what to do in a phase when an expression is true."""

    name: Annotated[str, Meta(description='For logs and counters; "": rule and its number.')] = ""
    phase: Annotated[str, Meta(description="When it is asked; see docs/reference/hooks.md.")] = "message"
    when: Annotated[str, Meta(description="Expression in CEL (Common Expression Language).")] = "true"
    listeners: Annotated[list[str], Meta(description='As of [[policy]]; "http" for HTTP. Empty: all.')] = field(
        default_factory=list
    )
    action: Annotated[RuleAction, Meta(description="What is said; `continue` for a rule that only changes things.")] = (
        "continue"
    )
    code: Annotated[int, Meta(description="SMTP code of a refusal; 0: the action's own.")] = 0
    text: Annotated[str, Meta(description="Text of a refusal, or the reason of a discard.")] = ""
    seconds: Annotated[float, Meta(ge=0, description="Of a tarpit or a retry.")] = 0.0
    set: Annotated[dict[str, str], Meta(description="Context values: name and value.")] = field(default_factory=dict)
    set_header: Annotated[dict[str, str], Meta(description="Header fields to set (replace): name and text.")] = field(
        default_factory=dict
    )
    add_header: Annotated[dict[str, str], Meta(description="Header fields to put in front.")] = field(
        default_factory=dict
    )
    remove_header: Annotated[list[str], Meta(description="Header fields to take out, by name.")] = field(
        default_factory=list
    )
    add_recipient: Annotated[list[str], Meta(description="Recipients to add; phase `message`.")] = field(
        default_factory=list
    )
    binding: Annotated[str, Meta(description="Binding of the message.")] = ""
    group: Annotated[str, Meta(description="Group the message's binding is chosen from.")] = ""
    domain: Annotated[str, Meta(description="Routing domain of the message.")] = ""
    priority: Annotated[int | None, Meta(description="Priority of the message in its queue.")] = None
    expires_in: Annotated[Duration | None, Meta(description="When the message expires, after it was taken.")] = None


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    include: Annotated[
        list[str],
        Meta(description="More files (patterns as in a shell), relative to this one; their entries join ours."),
    ] = field(default_factory=list)
    server: ServerOptions = field(default_factory=ServerOptions)
    listener: Annotated[list[ListenerOptions], Meta(description="SMTP listeners.")] = field(default_factory=list)
    smtp_user: Annotated[list[SmtpUser], Meta(description="Users of SMTP AUTH.")] = field(default_factory=list)
    http: HttpOptions = field(default_factory=HttpOptions)
    engagement: EngagementOptions = field(default_factory=EngagementOptions)
    queue: QueueOptions = field(default_factory=QueueOptions)
    delivery: DeliveryOptions = field(default_factory=DeliveryOptions)
    binding: Annotated[list[BindingOptions], Meta(description="Sending identities.")] = field(default_factory=list)
    group: Annotated[list[GroupOptions], Meta(description="Groups of bindings.")] = field(default_factory=list)
    domain: Annotated[list[DomainOptions], Meta(description="Options by routing domain.")] = field(default_factory=list)
    provider: Annotated[list[ProviderOptions], Meta(description="Mailbox providers.")] = field(default_factory=list)
    reply: Annotated[list[ReplyOptions], Meta(description="What to make of refusals.")] = field(default_factory=list)
    policy: Annotated[list[PolicyOptions], Meta(description="Plug-ins, in the order they are asked.")] = field(
        default_factory=list
    )
    rule: Annotated[list[RuleOptions], Meta(description="Rules, asked after the plug-ins of a phase.")] = field(
        default_factory=list
    )
    dkim: Annotated[list[DkimOptions], Meta(description="Keys that sign outgoing mail.")] = field(default_factory=list)
    dns: DnsOptions = field(default_factory=DnsOptions)
    tls_reports: TlsReportOptions = field(default_factory=TlsReportOptions)
    journal: JournalOptions = field(default_factory=JournalOptions)
    store: StoreOptions = field(default_factory=StoreOptions)
