"""What a listener may be told."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from postroad.config.terms import (
    DmarcUse,
    DnsListKind,
    Duration,
    HelloCheck,
    ListenerKind,
    ListenerTls,
    ListenerTlsClient,
    Rate,
    Section,
    Size,
    TlsVersion,
)


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
