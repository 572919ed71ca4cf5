"""How mail is queued and delivered, where no scope says otherwise."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from postroad.config.terms import (
    NOT_PUBLIC,
    AuthMechanism,
    Blackhole,
    DeliveryMethod,
    Duration,
    Growth,
    Rate,
    Section,
    Tls,
    TlsVerify,
    TlsVersion,
)


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
