"""Every option of Postroad, declared once: name, type, default, unit and what it does.

The reference page, the commented file that `postroad init` writes and `postroad config explain` are made from this.
Times are seconds (`Duration`), sizes are bytes (`Size`); a file may write "20m", "12h", "5d", "64KB", "20MB" as well.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from postroad.config.listeners import (
    CertificateOptions,
    DnsListOptions,
    ListenerOptions,
    PeerOptions,
)
from postroad.config.policing import (
    DkimOptions,
    PolicyOptions,
    RuleOptions,
)
from postroad.config.scoped import (
    BindingOptions,
    DomainOptions,
    GroupOptions,
    InnerDomain,
    MemberOptions,
    ProviderOptions,
    ReplyOptions,
    ScopeOptions,
)
from postroad.config.sending import (
    DeliveryOptions,
    QueueOptions,
)
from postroad.config.servers import (
    ApiKey,
    DnsOptions,
    EngagementOptions,
    HttpOptions,
    JournalOptions,
    ServerOptions,
    SmtpUser,
    StoreOptions,
    TlsReportOptions,
)
from postroad.config.terms import (
    NOT_PUBLIC,
    AuthMechanism,
    Blackhole,
    DeliveryMethod,
    DmarcUse,
    DnsListKind,
    Durability,
    Duration,
    Growth,
    HelloCheck,
    ListenerKind,
    ListenerTls,
    ListenerTlsClient,
    OnError,
    Rate,
    RuleAction,
    Section,
    Size,
    Tls,
    TlsVerify,
    TlsVersion,
)

__all__ = [
    "NOT_PUBLIC",
    "ApiKey",
    "AuthMechanism",
    "BindingOptions",
    "Blackhole",
    "CertificateOptions",
    "Config",
    "DeliveryMethod",
    "DeliveryOptions",
    "DkimOptions",
    "DmarcUse",
    "DnsListKind",
    "DnsListOptions",
    "DnsOptions",
    "DomainOptions",
    "Durability",
    "Duration",
    "EngagementOptions",
    "GroupOptions",
    "Growth",
    "HelloCheck",
    "HttpOptions",
    "InnerDomain",
    "JournalOptions",
    "ListenerKind",
    "ListenerOptions",
    "ListenerTls",
    "ListenerTlsClient",
    "MemberOptions",
    "OnError",
    "PeerOptions",
    "PolicyOptions",
    "ProviderOptions",
    "QueueOptions",
    "Rate",
    "ReplyOptions",
    "RuleAction",
    "RuleOptions",
    "ScopeOptions",
    "Section",
    "ServerOptions",
    "Size",
    "SmtpUser",
    "StoreOptions",
    "Tls",
    "TlsReportOptions",
    "TlsVerify",
    "TlsVersion",
]


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
