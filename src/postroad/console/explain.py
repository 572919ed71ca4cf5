"""Why a message waits, and what a path is limited by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from postroad.console.history import History, history
from postroad.console.parts import ConsoleError, Parts
from postroad.console.paths import members, rate_of
from postroad.console.watch import Watch
from postroad.deliver import PathLook, look
from postroad.message import id_time
from postroad.queue import Standing, State, Why, position

_WHY = {
    Why.RECEIVED: "it was received and waits for its first attempt",
    Why.DUE: "its time for another attempt has come",
    Why.RECOVERED: "it was found in the journal when the server started",
    Why.DEFERRED: "the last attempt did not succeed",
    Why.HANDED_BACK: "an attempt was called off before it began",
    Why.UNREAD: "the journal could not be read just then",
    Why.OPERATOR: "an operator ordered it",
}
_STATES = {State.ACTIVE: "active", State.DELAYED: "delayed", State.IN_FLIGHT: "in-flight", State.SETTLING: "in-flight"}


def row(found: Standing) -> dict[str, Any]:
    """A line of a listing."""
    return {
        "id": f"{found.id:016x}",
        "state": _STATES[found.state],
        "binding": found.binding,
        "domain": found.domain,
        "attempts": found.attempts,
        "received": found.received,
        "expires": found.expires,
        "next_attempt": found.next_attempt or None,
        "last_code": found.code or None,
    }


def explain_path(parts: Parts, watch: Watch, binding: str, domain: str) -> dict[str, Any]:
    """domain: or the name of a path that several share."""
    path = parts.queue.path(binding, domain)
    whole = parts.queue.rollups.get(binding, domain)
    rollup = whole or parts.queue.rollups.of(binding, domain)
    paths = list(whole.members) if whole is not None else [path] if path is not None else []
    active, delayed = sum(each.active for each in paths), sum(each.waiting for each in paths)
    seen = look(parts.deliverer, binding, domain, active if rollup is None else rollup.order.standing, parts.now())
    if not paths and seen is None:
        raise ConsoleError(f"nothing is queued for {domain} on binding {binding}, and no connection is open")
    held = parts.queue.suspensions.holding(binding, domain)
    told: dict[str, Any] = {
        "binding": binding,
        "domain": domain,
        "active": active,
        "delayed": delayed,
        "in_flight": sum(each.live for each in paths) - active - delayed,
        "next_due": min((each.wake for each in paths if each.wake != float("inf")), default=None),
        "rate": rate_of(watch, paths, parts.now()),
        "suspended": None if held is None else _hold(held.until, held.note),
        "rollup": "" if rollup is None else rollup.name,
        "domains": [domain] if rollup is None else members(rollup),
        "curfew_until": None,
        "limits": [],
        "hosts": [],
        "connections": [],
    }
    if seen is not None:
        told["curfew_until"] = _finite(seen.curfew_until)
        told["limits"] = [limit._asdict() for limit in seen.limits]
        told["looking_up"] = seen.looking_up
        told["connecting"] = seen.connecting
        told["hosts"] = [host._asdict() for host in seen.hosts]
        told["connections"] = [
            connection._asdict() | {"message": f"{connection.message:016x}" if connection.message else None}
            for connection in seen.connections
        ]
    told["waits_for"] = _waits_for(parts, told, seen)
    return told


def _hold(until: float, note: str) -> dict[str, Any]:
    return {"until": _finite(until), "note": note}


def _finite(until: float | None) -> float | None:
    return None if until == float("inf") else until


def _waits_for(parts: Parts, told: dict[str, Any], seen: PathLook | None) -> str:
    """The one thing that holds the active queue now, in words; the first that applies."""
    if told["suspended"] is not None:
        note = told["suspended"]["note"]
        return "an operator suspended it" + (f": {note}" if note else "")
    if parts.queue.behind:
        return "the journal can't keep up or can't be written: no attempt is begun whose outcome could be lost"
    if not told["active"]:
        return "nothing is due" + ("; the delayed messages wait for their time" if told["delayed"] else "")
    if seen is None:
        return "delivery has not been told of it yet"
    if seen.suspended:
        return "the configuration suspends it (suspend_delivery, default_binding)"
    if seen.curfew_until is not None:
        end = (
            "for ever"
            if seen.curfew_until == float("inf")
            else f"until {datetime.fromtimestamp(seen.curfew_until, UTC):%Y-%m-%d %H:%M} UTC"
        )
        return f"a curfew holds it {end}; the mail still expires"
    if seen.blackhole:
        return "the configuration ends its mail unsent (blackhole)"
    if seen.looking_up:
        return "the domain's mail hosts are being looked up"
    if seen.hosts and all(host.avoided_for > 0 for host in seen.hosts) and not seen.connections:
        return f"all its mail hosts failed a short time ago; the last one said: {seen.hosts[-1].reason}"
    if seen.put_off_for:
        return f"there was no way to deliver it; the next try is in {seen.put_off_for:.0f} s"
    binding = [limit for limit in told["limits"] if limit["binds"]]
    if binding:
        return "; ".join(str(limit["text"]) for limit in binding)
    if seen.connecting and not seen.connections:
        return "a connection is being opened"
    if seen.ceiling is not None:
        return f"a host refused more than {seen.ceiling} connections a short time ago"
    return "the connections are busy: each message waits for its turn"


async def show_ended(parts: Parts, number: int) -> dict[str, Any]:
    """What the journal's events still tell of a message that is not queued any more. Raises ConsoleError."""
    told = await explain_message(parts, Watch(), number)
    events: History = await parts.off_loop(history, parts.journal, number)
    if told["state"] not in ("ended", "unknown") or not events.events:
        raise ConsoleError(f"message {number:016x} can't be read just now")
    first, last = events.events[0], events.events[-1]
    return {
        "id": told["id"],
        "state": told["state"],
        "text": told["text"],
        "binding": last.get("binding"),
        "domain": last.get("routing_domain"),
        "sender": first.get("msg_from"),
        "recipient": first.get("rcpt_to"),
        "size": int(first["msg_size"]) if "msg_size" in first else None,
        "method": first.get("recv_method"),
        "event": last,
        "attempts": told["attempts"],
        "history_complete": told["history_complete"],
    }


async def explain_message(parts: Parts, watch: Watch, number: int) -> dict[str, Any]:
    told = await parts.off_loop(history, parts.journal, number)
    assert isinstance(told, History)
    found = parts.queue.standing(number)
    if found is None and not told.events:
        raise ConsoleError(f"message {number:016x} is not queued, and the journal keeps no event of it")
    answer: dict[str, Any] = {"id": f"{number:016x}", "attempts": [_attempt(event) for event in told.events]}
    answer["history_complete"] = told.complete
    if found is None:
        last = told.events[-1]
        kind = str(last.get("type"))
        ended = told.ended
        answer["state"] = "ended" if ended else "unknown"
        answer["text"] = (
            f"it ended: {kind}, {last.get('raw_reason') or last.get('remote_reply') or ''}".rstrip(", ")
            if ended
            else "it is not queued; the journal no longer tells how it ended"
        )
        return answer
    answer |= row(found)
    answer["attempts_made"] = found.attempts
    answer["attempts"] = [_attempt(event) for event in told.events]
    answer["age"] = max(0.0, parts.clock.wall() - (found.received or id_time(number)))
    answer["resident"] = found.resident
    answer["reason"] = _WHY[found.why]
    answer |= _outlook(parts, watch, found)
    return answer


def _outlook(parts: Parts, watch: Watch, found: Standing) -> dict[str, Any]:
    """What it waits for, and when its turn may come."""
    path = parts.queue.path(found.binding, found.domain)
    assert path is not None
    wall = parts.clock.wall()
    if found.state is State.IN_FLIGHT:
        seen = look(parts.deliverer, found.binding, found.domain, 0, parts.now())
        on = [one for one in seen.connections if one.message == found.id] if seen is not None else []
        text = f"it is on its way to {on[0].host} [{on[0].address}], step {on[0].step}" if on else "it is being handled"
        return {"waits_for": text, "position": None, "eta": None}
    waits = explain_path(parts, watch, found.binding, found.domain)
    rate: float | None = waits["rate"] if path.rollup is None else rate_of(watch, path.rollup.members, parts.now())
    held = waits["suspended"] or waits["curfew_until"]
    if found.state is State.DELAYED:
        text = f"its time, in {max(0.0, found.next_attempt - wall):.0f} s"
        if held is not None:
            text += f"; and then: {waits['waits_for']}"
        expected = found.next_attempt + (path.active / rate if rate else 0.0)
        return {"waits_for": text, "position": None, "eta": None if held is not None else expected}
    ahead = position(path, found.id, wall)
    eta = wall + (ahead + 1) / rate if rate and ahead is not None and held is None else None
    return {"waits_for": waits["waits_for"], "position": ahead, "eta": eta}


def _attempt(event: dict[str, Any]) -> dict[str, Any]:
    """One event, as far as an operator wants to see it."""
    kept = {
        "time": float(event.get("timestamp", 0)),
        "type": event.get("type"),
        "reply": event.get("raw_reason") or event.get("remote_reply"),
        "host": event.get("mx_host") or event.get("routing_domain"),
        "ip_address": event.get("ip_address"),
        "sending_ip": event.get("sending_ip"),
        "bounce_class": event.get("bounce_class"),
        "reply_rule": event.get("reply_rule"),
        "ruled": event.get("reason") if "reply_rule" in event else None,
        "retry_hint": event.get("retry_hint"),
        "next_attempt": float(event["next_attempt"]) if "next_attempt" in event else None,
    }
    return {name: value for name, value in kept.items() if value is not None}
