"""The request of POST /transmissions (api.md 2.2 to 2.5), declared once: decoding, checking and OpenAPI use this.

JSON null is the same as absent, and unknown members are ignored, so every member has the default None. What must be
there, and limits that are told with a code of their own, are checked where the value is used.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

MAX_CAMPAIGN = 64  # bytes
MAX_DESCRIPTION = 1024  # bytes
MAX_METADATA = 10 * 1024  # bytes of JSON
MAX_SUBSTITUTION_DATA = 100 * 1024  # bytes of JSON
MAX_TAGS = 10


class Address(Struct, frozen=True):
    """Whom a recipient's copy goes to."""

    email: Annotated[str, Meta(description="The address (required).")] | None = None
    name: Annotated[str, Meta(description="Display name in the To header.")] | None = None
    header_to: (
        Annotated[str, Meta(description="What the To header shows instead of `email`; empty: no To header.")] | None
    ) = None


class Tracking(Struct, frozen=True):
    """Options of one recipient."""

    open_tracking: bool | None = None
    initial_open: bool | None = None
    click_tracking: bool | None = None


class InlineRecipient(Struct, frozen=True):
    """An inline recipient."""

    address: Annotated[str | Address, Meta(description="An address, or an object (required).")] | None = None
    return_path: Annotated[str, Meta(description="Envelope sender for this recipient alone.")] | None = None
    tags: Annotated[list[str], Meta(description="Told in events; the first 10 are kept.")] | None = None
    metadata: (
        Annotated[dict[str, Any], Meta(description="Told in events, laid over the transmission's; 10 KB.")] | None
    ) = None
    substitution_data: Annotated[dict[str, Any], Meta(description="100 KB.")] | None = None
    options: Tracking | None = None


class StoredList(Struct, frozen=True):
    """A stored recipient list."""

    list_id: str | None = None


class Sender(Struct, frozen=True):
    email: Annotated[str, Meta(description="The address (required).")] | None = None
    name: Annotated[str, Meta(description="Display name.")] | None = None


class Override(Struct, frozen=True, rename={"sender": "from"}):
    """Laid over the content, a template's as well. Nothing is substituted in it."""

    sender: Annotated[str | Sender, Meta(description="From; a missing name is the content's.")] | None = None
    reply_to: Annotated[str, Meta(description="An address, or a comma list.")] | None = None
    list_id: Annotated[str, Meta(description="Sent as List-Id; suppressions of this list apply.")] | None = None


class AttachedFile(Struct, frozen=True):
    """An attachment, or an inline image, whose name is its Content-ID (`cid:NAME`)."""

    name: Annotated[str, Meta(description="File name, 255 bytes at most.")] | None = None
    type: Annotated[str, Meta(description="Content-Type, copied with its parameters (required).")] | None = None
    data: Annotated[str, Meta(description="The content in base64 (required).")] | None = None


class TransmissionContent(Struct, frozen=True, rename={"sender": "from"}):
    """What is sent: inline content, a stored template, an A/B test, or a whole message in `email_rfc822`."""

    sender: Annotated[str | Sender, Meta(description='`a@b.example`, `"Name" <a@b.example>` or an object.')] | None = (
        None
    )
    subject: Annotated[str, Meta(description="Unicode text; may be blank (required).")] | None = None
    text: str | None = None
    html: str | None = None
    amp_html: Annotated[str, Meta(description="Needs text or html beside it.")] | None = None
    reply_to: Annotated[str, Meta(description="An address, or a comma list.")] | None = None
    headers: (
        Annotated[
            dict[str, str | None],
            Meta(description="More header fields. Not Content-*, To, From, Subject, Reply-To."),
        ]
        | None
    ) = None
    attachments: list[AttachedFile] | None = None
    inline_images: list[AttachedFile] | None = None
    email_rfc822: Annotated[str, Meta(description="A whole RFC 5322 message, instead of everything else.")] | None = (
        None
    )
    template_id: Annotated[str, Meta(description="A stored template, instead of everything else.")] | None = None
    ab_test_id: Annotated[str, Meta(description="An A/B test, for one recipient.")] | None = None
    use_draft_template: bool | None = None


class Options(Tracking, frozen=True):
    """Options of the transmission."""

    start_time: (
        Annotated[str, Meta(description="When to send, `2027-01-31T08:00:00+01:00`; a past time and `now`: at once.")]
        | None
    ) = None
    transactional: bool | None = None
    sandbox: bool | None = None
    skip_suppression: bool | None = None
    ip_pool: str | None = None
    inline_css: Annotated[bool, Meta(description="Move `<style>` rules of html into `style=`.")] | None = None
    perform_substitutions: (
        Annotated[bool, Meta(description="false: text and html are sent as they are, braces and all.")] | None
    ) = None
    dkim_key: str | None = None


class Transmission(Struct, frozen=True):
    """A message to one or many recipients."""

    recipients: (
        Annotated[list[str | InlineRecipient] | StoredList, Meta(description="Whom it goes to (required).")] | None
    ) = None
    content: Annotated[TransmissionContent, Meta(description="What is sent (required).")] | None = None
    options: Options | None = None
    campaign_id: Annotated[str, Meta(description="64 bytes at most.")] | None = None
    description: Annotated[str, Meta(description="1024 bytes at most.")] | None = None
    metadata: Annotated[dict[str, Any], Meta(description="Told in events as rcpt_meta; 10 KB.")] | None = None
    substitution_data: Annotated[dict[str, Any], Meta(description="100 KB.")] | None = None
    return_path: Annotated[str, Meta(description="Envelope sender; default: the From address.")] | None = None
    tracking_domain: Annotated[str, Meta(description="A verified tracking domain of the account.")] | None = None
    override: Override | None = None
