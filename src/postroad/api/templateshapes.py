"""Requests and answers of /templates (api.md 3.2, 3.4)."""

from __future__ import annotations

from typing import Annotated, Any, cast

from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.content import Rendered, StoredContent
from postroad.api.fields import moment_text
from postroad.store.tables import MASTER
from postroad.store.templates import Template, Version

MAX_CONTENT = 20 << 20  # octets of a content as JSON (api.md 26.12)
MAX_REQUEST = MAX_CONTENT + (1 << 20)

Previewed = Rendered


class TemplateOptions(Struct, frozen=True):
    """What counts where the transmission does not say. Absent or null: stays as it is."""

    transactional: bool | None = None
    open_tracking: bool | None = None
    click_tracking: bool | None = None


class TemplateUpdate(Struct, frozen=True):
    """A template, or what is to change in one."""

    id: (
        Annotated[str, Meta(description="64 bytes of letters, digits and - _ . at most; absent: made of the name.")]
        | None
    ) = None
    name: Annotated[str, Meta(description="1024 bytes at most; default: the id.")] | None = None
    description: Annotated[str, Meta(description="1024 bytes at most.")] | None = None
    published: Annotated[bool, Meta(description="true publishes what this request leaves as the draft.")] | None = None
    content: Annotated[StoredContent, Meta(description="Replaces the content as a whole; 20 MB at most.")] | None = None
    options: TemplateOptions | None = None
    shared_with_subaccounts: (
        Annotated[bool, Meta(description="May subaccounts use it? For the primary account's templates.")] | None
    ) = None


class UpdateQuery(Struct, frozen=True):
    update_published: Annotated[bool, Meta(description="Change the published version instead of the draft.")] = False


class ListQuery(Struct, frozen=True):
    draft: (
        Annotated[bool, Meta(description="true: drafts; false: published versions; absent: what was edited last.")]
        | None
    ) = None
    shared_with_subaccounts: Annotated[bool, Meta(description="Only those that are shared, or are not.")] | None = None


class DraftQuery(Struct, frozen=True):
    draft: (
        Annotated[
            bool, Meta(description="true: the draft; false: the published version; absent: what was edited last.")
        ]
        | None
    ) = None


class PreviewAsk(Struct, frozen=True):
    substitution_data: Annotated[dict[str, Any], Meta(description="What the template sees.")] | None = None


class ContentPreview(Struct, frozen=True):
    substitution_data: Annotated[dict[str, Any], Meta(description="What the content sees.")]
    content: Annotated[StoredContent, Meta(description="Any parts; what is not there is not shown.")]


class Created(Struct):
    id: str


class TemplateShown(Struct):
    """One version of a template."""

    id: str
    name: str
    description: str
    published: Annotated[bool, Meta(description="Is this the published version?")]
    has_draft: bool
    has_published: bool
    options: dict[str, bool]
    last_update_time: str
    content: Annotated[StoredContent, Meta(description="Not in lists.")] | UnsetType = UNSET
    shared_with_subaccounts: Annotated[bool, Meta(description="Of the primary account's.")] | UnsetType = UNSET
    subaccount_id: Annotated[int, Meta(description="Of a subaccount's.")] | UnsetType = UNSET


def shown(template: Template, version: Version) -> TemplateShown:
    made = TemplateShown(
        id=template.id,
        name=version.name,
        description=version.description,
        published=version.published,
        has_draft=template.draft is not None,
        has_published=template.published is not None,
        options=version.options,
        last_update_time=moment_text(version.updated),
    )
    if version.content is not None:
        made.content = cast(StoredContent, version.content)  # JSON of it, as it was given
    if template.subaccount == MASTER:
        made.shared_with_subaccounts = template.shared
    else:
        made.subaccount_id = template.subaccount
    return made
