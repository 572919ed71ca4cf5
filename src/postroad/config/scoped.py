"""What bindings, groups, domains and providers may say of their own mail; rules on replies."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from postroad.config.terms import (
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
