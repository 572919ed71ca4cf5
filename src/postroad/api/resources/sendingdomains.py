"""/sending-domains: domains that mail is sent from, shown to be their account's by DNS (api.md 9.1, 9.2, 9.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

from msgspec import structs

from postroad.api.domaindns import Checks, host_fault, key_fault
from postroad.api.domainkeys import DEFAULT_BITS, TRIPLE, KeyMaker, check_key, domain_name, new_selector
from postroad.api.fields import check_shared, require_own
from postroad.api.office import Office
from postroad.api.route import Ask, Nothing, Results, Route
from postroad.api.sendingdomainshapes import (
    DkimGiven,
    DomainCreate,
    DomainCreated,
    DomainQuery,
    DomainShown,
    DomainUpdate,
    DomainUpdated,
    DomainVerified,
    DomainVerify,
    key_shown,
    shown,
    status_of,
)
from postroad.auth.dkim import SECRET_FILE, DkimKeyError, SealError
from postroad.inject.http import Code, Failure
from postroad.inject.http.faults import Faults
from postroad.net import DnsFailure, DnsResolver
from postroad.store.errors import Conflict
from postroad.store.sendingdomains import (
    VALID,
    DomainKey,
    SendingDomain,
    create_domain,
    delete_domain,
    find_domain,
    list_domains,
    write_domain,
)

_CHECKED = (Code.INVALID_PARAMS, Code.INVALID_FORMAT)
_BY_MAIL = "verification by mail is not in this version: use dkim_verify, cname_verify or mx_verify"
_CHANGED = "the key of the domain was changed meanwhile; ask again"


def routes(office: Office) -> list[Route[Any, Any]]:
    database = office.database
    maker = KeyMaker((office.data_dir or Path()) / SECRET_FILE)

    def now() -> int:
        return round(office.clock.wall() * 1000)

    @asynccontextmanager
    async def names() -> AsyncIterator[DnsResolver]:
        """With nothing in its cache."""
        resolver = DnsResolver(office.config().dns, rng=SystemRandom())
        try:
            yield resolver
        finally:
            await resolver.close()

    async def own(ask: Ask[Any, Nothing]) -> SendingDomain:
        """The domain that is to be changed. Raises Failure."""
        name = domain_name(ask.path["domain"])
        async with database.read() as connection:
            found = await find_domain(connection, ask.caller.subaccount, name)
        if found is None:
            raise _absent(ask.path["domain"])
        require_own(ask.caller, found.subaccount, f"Domain '{name}'")
        return found

    async def create(ask: Ask[DomainCreate, Nothing]) -> Results[DomainCreated]:
        body = ask.body
        faults = Faults()
        name = domain_name(body.domain or "")
        if body.domain is None:
            faults.add(Code.MISSING_FIELD, "domain is a required field")
        elif not name:
            faults.add(Code.INVALID_FORMAT, "'domain' must be a domain name")
        check_key(faults, body.dkim, body.dkim_key_length)
        _check_tracking(faults, body.tracking_domain)
        check_shared(faults, ask.caller, body.shared_with_subaccounts)
        faults.stop()
        whose = ask.caller.subaccount
        async with database.read() as connection:  # before a key costs anything
            _require_free(await find_domain(connection, None, name), whose, name)
        key = await _first_key(maker, name, body, office.clock.wall())
        made = SendingDomain(whose, name, bool(body.shared_with_subaccounts), key, now(), now())
        try:
            async with database.begin() as tx:
                await create_domain(tx, made)
        except Conflict:
            async with database.read() as connection:
                _require_free(await find_domain(connection, None, name), whose, name)
            raise Failure(Code.CONFLICT, f"Domain '{name}' already exists") from None
        return Results(DomainCreated("Successfully Created domain.", name, key_shown(key)))

    async def show_all(ask: Ask[Nothing, DomainQuery]) -> Results[list[DomainShown]]:
        wanted = {name: value for name, value in structs.asdict(ask.query).items() if value is not None}
        async with database.read() as connection:
            found = [shown(each) for each in await list_domains(connection, ask.caller.only)]
        return Results(
            [each for each in found if all(getattr(each.status, name) == value for name, value in wanted.items())]
        )

    async def show(ask: Ask[Nothing, Nothing]) -> Results[DomainShown]:
        async with database.read() as connection:
            found = await find_domain(connection, ask.caller.only, domain_name(ask.path["domain"]))
        if found is None:
            raise _absent(ask.path["domain"])
        return Results(shown(found))

    async def update(ask: Ask[DomainUpdate, Nothing]) -> Results[DomainUpdated]:
        body = ask.body
        faults = Faults()
        check_key(faults, body.dkim, None)
        _check_tracking(faults, body.tracking_domain)
        check_shared(faults, ask.caller, body.shared_with_subaccounts)
        if body.is_default_bounce_domain:
            faults.add(Code.INVALID_PARAMS, "default bounce domains are not in this version")
        faults.stop()
        before = await own(ask)
        key = before.key if body.dkim is None else await _next_key(maker, before, body.dkim)
        other = (key.record, key.public) != (before.key.record, before.key.public)
        if other:
            async with names() as resolver:
                await _require_record(resolver, before.id, key)
        async with database.begin() as tx:
            # What a verification found in the meantime stays.
            after = await _unchanged(tx, before)
            shared = after.shared if body.shared_with_subaccounts is None else body.shared_with_subaccounts
            status = VALID if other else after.dkim_status
            await write_domain(tx, after._replace(key=key, dkim_status=status, shared=shared, updated=now()))
        return Results(DomainUpdated("Successfully Updated Domain.", before.id))

    async def delete(ask: Ask[Nothing, Nothing]) -> None:
        domain = await own(ask)
        async with database.begin() as tx:
            await delete_domain(tx, domain.subaccount, domain.id)

    async def verify(ask: Ask[DomainVerify, Nothing]) -> Results[DomainVerified]:
        body = ask.body
        if _by_mail(body):
            raise Failure(Code.INVALID_PARAMS, _BY_MAIL)
        domain = await own(ask)
        server = office.config().server
        host = server.bounce_host or server.hostname
        checks = Checks()
        async with names() as resolver:
            if body.dkim_verify:
                if not domain.key:
                    checks.dns.dkim_error = "the domain has no key"
                else:
                    await checks.run("dkim", partial(key_fault, resolver, domain.key))
            if body.cname_verify:
                await checks.run("cname", partial(host_fault, resolver, domain.id, "CNAME", host))
            if body.mx_verify:
                await checks.run("mx", partial(host_fault, resolver, domain.id, "MX", host))
        if checks.statuses:
            async with database.begin() as tx:
                domain = checks.applied(await _unchanged(tx, domain))._replace(updated=now())
                await write_domain(tx, domain)
        found = DomainVerified(**structs.asdict(status_of(domain)))
        if body.dkim_verify or body.cname_verify or body.mx_verify:
            found.dns = checks.dns
        return Results(found)

    return [
        Route(
            method="POST",
            path="/sending-domains",
            handler=create,
            summary="Add a sending domain",
            body=DomainCreate,
            answers=Results[DomainCreated],
            refuses=(Code.MISSING_FIELD, *_CHECKED, Code.CONFLICT, Code.DOMAIN_TAKEN),
            example={"domain": "mail.acme.example"},
        ),
        Route(
            method="GET",
            path="/sending-domains",
            handler=show_all,
            summary="All sending domains",
            query=DomainQuery,
            answers=Results[list[DomainShown]],
        ),
        Route(
            method="GET",
            path="/sending-domains/{domain}",
            handler=show,
            summary="A sending domain",
            answers=Results[DomainShown],
            refuses=(Code.NOT_FOUND,),
        ),
        Route(
            method="PUT",
            path="/sending-domains/{domain}",
            handler=update,
            summary="Change a sending domain",
            description="A new key, or a new signing domain, must stand in DNS before: else nothing is changed.",
            body=DomainUpdate,
            answers=Results[DomainUpdated],
            refuses=(*_CHECKED, Code.REMOTE_FAILED, Code.NOT_FOUND, Code.FORBIDDEN, Code.CONFLICT),
            example={"shared_with_subaccounts": True},
        ),
        Route(
            method="DELETE",
            path="/sending-domains/{domain}",
            handler=delete,
            summary="Remove a sending domain and its key",
            answers=None,
            refuses=(Code.NOT_FOUND, Code.FORBIDDEN),
        ),
        Route(
            method="POST",
            path="/sending-domains/{domain}/verify",
            handler=verify,
            summary="Look at the DNS of a sending domain",
            description="Mail of a domain is signed with its key as long as dkim_status is valid.",
            body=DomainVerify,
            optional_body=True,
            answers=Results[DomainVerified],
            refuses=(Code.INVALID_PARAMS, Code.NOT_FOUND, Code.FORBIDDEN, Code.CONFLICT),
            example={"dkim_verify": True, "cname_verify": True},
        ),
    ]


def _absent(name: str) -> Failure:
    return Failure(Code.NOT_FOUND, f"Domain '{name[:253]}' does not exist")


def _require_free(found: SendingDomain | None, whose: int, name: str) -> None:
    if found is None:
        return
    if found.subaccount == whose:
        raise Failure(Code.CONFLICT, f"Domain '{name}' already exists")
    raise Failure(Code.DOMAIN_TAKEN)


async def _unchanged(tx: Any, before: SendingDomain) -> SendingDomain:
    """The domain as it is now, with the key it had before. Raises Failure."""
    found = await find_domain(tx, before.subaccount, before.id)
    if found is None or found.subaccount != before.subaccount:
        raise _absent(before.id)
    if found.key != before.key:
        raise Failure(Code.CONFLICT, _CHANGED)
    return found


def _check_tracking(faults: Faults, name: str | None) -> None:
    if name:
        faults.add(Code.INVALID_PARAMS, f"Tracking domain '{name[:253]}' is not a registered tracking domain")


def _by_mail(body: DomainVerify) -> bool:
    asked = (body.verification_mailbox_verify, body.postmaster_at_verify, body.abuse_at_verify)
    tokens = (body.verification_mailbox_token, body.postmaster_at_token, body.abuse_at_token)
    return any(asked) or any(token is not None for token in tokens)


async def _first_key(maker: KeyMaker, name: str, body: DomainCreate, now: float) -> DomainKey:
    """Of a new domain. Raises Failure."""
    given = body.dkim
    try:
        if given is not None and given.private:
            return await maker.brought(given, name)
        if body.generate_dkim is False:
            return DomainKey()
        signing_domain = domain_name(given.signing_domain or "") if given is not None else ""
        return await maker.generated(signing_domain or name, new_selector(now), body.dkim_key_length or DEFAULT_BITS)
    except DkimKeyError as error:
        raise Failure(Code.INVALID_FORMAT, str(error)) from None
    except SealError as error:
        raise _unsealed(error) from None


async def _next_key(maker: KeyMaker, domain: SendingDomain, given: DkimGiven) -> DomainKey:
    """The key that a change wants. Raises Failure."""
    try:
        if given.private:
            return await maker.brought(given, domain.id)
        if not domain.key:
            raise Failure(Code.INVALID_PARAMS, TRIPLE)
        return await maker.changed(domain.key, domain.id, given.signing_domain, given.headers)
    except DkimKeyError as error:
        raise Failure(Code.INVALID_FORMAT, str(error)) from None
    except SealError as error:
        raise _unsealed(error) from None


def _unsealed(error: SealError) -> Failure:
    return Failure(Code.RESOURCES_UNAVAILABLE, f"the server's keys can't be used: {error}")


async def _require_record(names: DnsResolver, domain: str, key: DomainKey) -> None:
    """Raises Failure."""
    try:
        _, fault = await key_fault(names, key)
    except DnsFailure as failure:
        fault = f"DNS DKIM query error: {failure}"[:500]
    if fault:
        raise Failure(Code.REMOTE_FAILED, f"Unable to verify DKIM record of {domain}. {fault}")
