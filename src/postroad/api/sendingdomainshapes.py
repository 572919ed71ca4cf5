"""The shapes of /sending-domains (api.md 9.2, 9.4)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.fields import moment_text
from postroad.store.sendingdomains import UNVERIFIED, DomainKey, SendingDomain
from postroad.store.tables import MASTER

HEADERS = "from:to:subject:date"  # what clients expect to read; signatures cover more

Known = Literal["valid", "invalid", "unverified", "pending"]


class DkimGiven(Struct, frozen=True):
    """A key of one's own: private, public and selector, all three."""

    private: (
        Annotated[
            str, Meta(max_length=20_000, description="RSA, PKCS #1 or #8, without a passphrase; PEM, or its base64.")
        ]
        | None
    ) = None
    public: Annotated[str, Meta(max_length=10_000, description="Its public half; PEM, or its base64.")] | None = None
    selector: Annotated[str, Meta(description="The name of the key below _domainkey.")] | None = None
    signing_domain: (
        Annotated[str, Meta(description='The d= of signatures; default, and with "": the domain itself.')] | None
    ) = None
    headers: Annotated[str, Meta(max_length=1000, description="Kept and shown; the signer chooses.")] | None = None


class DomainCreate(Struct, frozen=True):
    """A domain to send from."""

    domain: Annotated[str, Meta(description="Its name (required); Unicode is stored as A-labels.")] | None = None
    dkim: DkimGiven | None = None
    generate_dkim: Annotated[bool, Meta(description="Make a key when none is given (default true).")] | None = None
    dkim_key_length: Annotated[int, Meta(description="Bits of a key that is made: 1024 to 4096 (default 2048).")] | (
        None
    ) = None
    tracking_domain: Annotated[str, Meta(description="A tracking domain of the same account.")] | None = None
    shared_with_subaccounts: (
        Annotated[bool, Meta(description="May subaccounts send from it? For the primary account's domains.")] | None
    ) = None


class DomainUpdate(Struct, frozen=True):
    """What is to change. A new key must stand in DNS first."""

    dkim: DkimGiven | None = None
    tracking_domain: (
        Annotated[str, Meta(description='A tracking domain of the same account; "" takes it off.')] | None
    ) = None
    shared_with_subaccounts: (
        Annotated[bool, Meta(description="May subaccounts send from it? For the primary account's domains.")] | None
    ) = None
    is_default_bounce_domain: (
        Annotated[bool, Meta(description="true is refused: default bounce domains are not in this version.")] | None
    ) = None


class DomainVerify(Struct, frozen=True):
    """What to look for in DNS. Verification by mail is not in this version."""

    dkim_verify: Annotated[bool, Meta(description="The record of its key.")] = False
    cname_verify: Annotated[bool, Meta(description="That it is an alias of our bounce host.")] = False
    mx_verify: Annotated[bool, Meta(description="That our bounce host is its mail host.")] = False
    spf_verify: Annotated[bool, Meta(description="Ignored: SPF of the From domain shows nothing.")] = False
    verification_mailbox_verify: Annotated[bool, Meta(description="true is refused.")] = False
    postmaster_at_verify: Annotated[bool, Meta(description="true is refused.")] = False
    abuse_at_verify: Annotated[bool, Meta(description="true is refused.")] = False
    verification_mailbox_token: Annotated[str, Meta(description="Refused.")] | None = None
    postmaster_at_token: Annotated[str, Meta(description="Refused.")] | None = None
    abuse_at_token: Annotated[str, Meta(description="Refused.")] | None = None


class DomainQuery(Struct, frozen=True):
    """Only those that are all this."""

    ownership_verified: bool | None = None
    dkim_status: Known | None = None
    cname_status: Known | None = None
    mx_status: Known | None = None
    compliance_status: Literal["valid", "blocked"] | None = None


class DomainStatus(Struct):
    """How far the domain is shown to be its account's, and fit to sign."""

    ownership_verified: Annotated[bool, Meta(description="One of dkim, cname and mx is valid.")]
    dkim_status: Annotated[str, Meta(description="valid: its mail is signed with its key.")]
    cname_status: str
    mx_status: str
    spf_status: str = UNVERIFIED
    abuse_at_status: str = UNVERIFIED
    postmaster_at_status: str = UNVERIFIED
    verification_mailbox_status: str = UNVERIFIED
    compliance_status: str = "valid"


class DnsFound(Struct, omit_defaults=True):
    """What the look-ups found, and what is wrong with it."""

    dkim_record: str = ""
    dkim_error: str = ""
    cname_record: str = ""
    cname_error: str = ""
    mx_record: str = ""
    mx_error: str = ""


class DomainVerified(DomainStatus):
    """The status as it is now."""

    dns: Annotated[DnsFound, Meta(description="When something was looked up.")] | UnsetType = UNSET


class DkimShown(Struct):
    """The key. Its private half is shown to nobody."""

    public: Annotated[str, Meta(description="For the p= of the record.")]
    selector: str
    signing_domain: str
    headers: str


class DomainCreated(Struct):
    message: str
    domain: str
    dkim: DkimShown | UnsetType = UNSET


class DomainUpdated(Struct):
    message: str
    domain: str


class DomainShown(Struct):
    """A sending domain."""

    domain: str
    status: DomainStatus
    creation_time: str
    dkim: DkimShown | UnsetType = UNSET
    shared_with_subaccounts: Annotated[bool, Meta(description="Of the primary account's.")] | UnsetType = UNSET
    subaccount_id: Annotated[int, Meta(description="Of a subaccount's.")] | UnsetType = UNSET


def key_shown(key: DomainKey) -> DkimShown | UnsetType:
    return DkimShown(key.public, key.selector, key.signing_domain, key.headers) if key else UNSET


def status_of(domain: SendingDomain) -> DomainStatus:
    return DomainStatus(domain.owned, domain.dkim_status, domain.cname_status, domain.mx_status)


def shown(domain: SendingDomain) -> DomainShown:
    made = DomainShown(domain.id, status_of(domain), moment_text(domain.created), key_shown(domain.key))
    if domain.subaccount == MASTER:
        made.shared_with_subaccounts = domain.shared
    else:
        made.subaccount_id = domain.subaccount
    return made
