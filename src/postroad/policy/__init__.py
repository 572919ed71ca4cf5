"""3 Policy: hook phases, binding choice, validation."""

from postroad.policy.binding import BINDING, GROUP, BindingChoice, marked

__all__ = ["BINDING", "GROUP", "BindingChoice", "marked"]
