"""Domains that mail is sent from, each with the key that signs for it (api.md 9)."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, String, Table, Text

from postroad.store.tables.base import metadata, moment, subaccount_column

sending_domains = Table(
    "sending_domains",
    metadata,
    # The domain alone is the key: it belongs to one account (api.md 9.2).
    Column("id", String(253), primary_key=True),  # A-labels in lower case
    subaccount_column(index=True),
    Column("shared", Boolean, nullable=False),  # with all subaccounts; of the primary account's only
    Column("selector", String(63), nullable=False),  # "" where there is no key; so are the next four
    Column("signing_domain", String(253), nullable=False),
    Column("headers", Text, nullable=False),  # kept for clients that ask for it again
    Column("public", Text, nullable=False),  # base64 of SubjectPublicKeyInfo
    Column("sealed", Text, nullable=False),  # the private half, as auth.dkim.seal makes it
    Column("dkim_status", String(12), nullable=False),  # unverified, valid, invalid
    Column("cname_status", String(12), nullable=False),
    Column("mx_status", String(12), nullable=False),
    moment("created"),
    moment("updated"),
)
