"""Keys that sign, plug-ins, and rules."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from postroad.config.terms import Duration, OnError, RuleAction, Section


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
