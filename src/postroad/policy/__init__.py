"""3 Policy: hook phases, plug-ins and rules, binding choice, validation."""

from postroad.policy.binding import BINDING, GROUP, BindingChoice, marked
from postroad.policy.content import Content, ContentError
from postroad.policy.facts import (
    Auth,
    Connect,
    Data,
    Ehlo,
    Incoming,
    MailFrom,
    OneRecipient,
    Outgoing,
    RcptTo,
    Replied,
    Session,
)
from postroad.policy.hooks import TROUBLE, Hook, Hooks
from postroad.policy.intake import DECIDED, Intake
from postroad.policy.outgoing import Outbound
from postroad.policy.phase import PHASES, Phase
from postroad.policy.plugin import Kit, Plugin, PluginError, load_plugin
from postroad.policy.policies import POLICY_ERRORS, HookCount, Policies, PolicySet, load_policies
from postroad.policy.rules import RuleError, load_rules
from postroad.policy.sealing import Sealing, sealing
from postroad.policy.signing import DomainKeys, HeldKey, KeyRing, Signing, SigningError, from_domain, load_keys
from postroad.policy.verdict import (
    Accept,
    Continue,
    Discard,
    Disconnect,
    Fail,
    Refusal,
    Reject,
    Retry,
    Tarpit,
    Tempfail,
    Verdict,
)

__all__ = [
    "BINDING",
    "DECIDED",
    "GROUP",
    "PHASES",
    "POLICY_ERRORS",
    "TROUBLE",
    "Accept",
    "Auth",
    "BindingChoice",
    "Connect",
    "Content",
    "ContentError",
    "Continue",
    "Data",
    "Discard",
    "Disconnect",
    "DomainKeys",
    "Ehlo",
    "Fail",
    "HeldKey",
    "Hook",
    "HookCount",
    "Hooks",
    "Incoming",
    "Intake",
    "KeyRing",
    "Kit",
    "MailFrom",
    "OneRecipient",
    "Outbound",
    "Outgoing",
    "Phase",
    "Plugin",
    "PluginError",
    "Policies",
    "PolicySet",
    "RcptTo",
    "Refusal",
    "Reject",
    "Replied",
    "Retry",
    "RuleError",
    "Sealing",
    "Session",
    "Signing",
    "SigningError",
    "Tarpit",
    "Tempfail",
    "Verdict",
    "from_domain",
    "load_keys",
    "load_plugin",
    "load_policies",
    "load_rules",
    "marked",
    "sealing",
]
