"""Hygiene: what a listener may check of strangers. Each check is a function of the facts, for hooks to use as well."""

from postroad.inject.hygiene.audit import Audit, Deed
from postroad.inject.hygiene.checks import Facts, check_hello, check_hello_dns, check_lists, check_sender
from postroad.inject.hygiene.hygiene import Hygiene

__all__ = ["Audit", "Deed", "Facts", "Hygiene", "check_hello", "check_hello_dns", "check_lists", "check_sender"]
