"""The metrics of an engine, in the text format of Prometheus. Nothing is counted here: at a scrape the rooms are asked
for what they count anyway, so a metric costs the mail nothing.

No label has more values than a fixed few, but for `domain` of the fullest paths and the rules of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from postroad import __version__
from postroad.console.parts import Parts
from postroad.console.watch import ALARMS, Alarm

_TOP = 20  # paths that get labels of their own


class Metric(NamedTuple):
    """labels: names of its labels. joined: how the figures of several engines become one: "sum", "max", or "each" for
    a sample an engine, with the label `engine`. Counters are never summed: an engine that is started again begins anew,
    which only its own series can tell from a count."""

    name: str
    kind: str  # counter or gauge
    help: str
    labels: tuple[str, ...] = ()
    joined: str = "sum"


class Sample(NamedTuple):
    """labels: values, in the order of the metric's names."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"postroad_{name}_total", "counter", text, labels, "each")


def _gauge(name: str, text: str, *labels: str, joined: str = "sum") -> Metric:
    return Metric(f"postroad_{name}", "gauge", text, labels, joined)


INFO = _gauge("info", "Always 1; the version is its label.", "version", joined="max")
ACCEPTED = _counter("accepted", "Messages accepted, a recipient each, since the journal began.")
ENDED = _counter("ended", "Messages that came to an end, however, since the journal began.")
BOUNCED = _counter("bounced", "Messages that ended undelivered: refused, expired or failed, since the start.")
ATTEMPTS = _counter("attempts", "Delivery attempts by outcome, since the start.", "outcome")
REFUSED = _counter("refused", "Transactions refused for want of room or because of stopping, since the start.")
REJECTED = _counter("rejected", "Recipients and messages refused at the door by rule, since the start.")
MESSAGES = _gauge("queue_messages", "Queued messages by state.", "state")
PATHS = _gauge("queue_paths", "Pairs of binding and routing domain that have messages.")
TOP = _gauge("queue_top_messages", f"Queued messages of the {_TOP} fullest paths.", "binding", "domain", "state")
RESIDENT = _gauge("queue_resident_bytes", "Octets of queued messages kept in memory.")
SESSIONS = _gauge("smtp_sessions", "SMTP sessions open to us.")
AUTH_FAILURES = _counter("smtp_auth_failures", "Logins in SMTP that failed, since the start.")
TLS_FAILURES = _counter("smtp_tls_failures", "TLS handshakes of clients that failed, and sessions whose TLS broke.")
CONNECTIONS = _gauge("connections", "Connections to receivers by state.", "state")
OPENED = _counter("connections_opened", "Connections to receivers asked for, since the start.")
REUSED = _counter("connections_reused", "Idle connections taken over from another domain's mail, since the start.")
AVOIDED = _gauge("hosts_avoided", "Hosts left alone since they failed a short time ago, once for each source address.")
RULED = _counter("reply_rules", "How often each rule on replies acted, since the start.", "rule")
BLACKHOLED = _counter("blackholed", "Messages that a blackhole ended, since the start.")
POLICY_CALLS = _counter("policy_calls", "How often each hook was asked, since it was loaded.", "policy", "phase")
POLICY_ERRORS = _counter("policy_errors", "How often each hook failed, since it was loaded.", "policy", "phase")
COMMITS = _counter("journal_commits", "Commits of the journal, since the start.")
COMMIT_TIME = _counter("journal_commit_seconds", "Time that all commits took, from the first write to the last sync.")
COMMITTED = _counter("journal_records", "Records committed, by stream, since the start.", "stream")
WAITING = _gauge("journal_waiting", "Records that wait for their commit, by stream.", "stream")
HELD = _gauge("journal_held_events", "Events that a failing disk keeps waiting.")
SEGMENTS = _gauge("journal_segments", "Segment files of the journal, by stream.", "stream")
ACCEPTING = _gauge("accepting", "1 when new mail is welcome, 0 when it is refused.", joined="each")
LAG = _gauge(
    "events_lag_seconds", "Age of the oldest event that a consumer has not acknowledged.", "consumer", joined="max"
)
SUSPENSIONS = _gauge("suspensions", "Suspensions by operators.", joined="max")
UP = _gauge("process_up", "1 when this process of the server serves, 0 while it is away.", "process")
RESTARTS = Metric(
    "postroad_process_restarts_total", "counter", "How often this process was started again.", ("process",)
)
ALARM = _gauge("alarm", "How many alarms of this name there are now.", "name")

METRICS = (
    *(
        INFO,
        ACCEPTED,
        ENDED,
        BOUNCED,
        ATTEMPTS,
        REFUSED,
        REJECTED,
        MESSAGES,
        PATHS,
        TOP,
        RESIDENT,
        SESSIONS,
        AUTH_FAILURES,
        TLS_FAILURES,
        CONNECTIONS,
    ),
    *(
        OPENED,
        REUSED,
        AVOIDED,
        RULED,
        BLACKHOLED,
        POLICY_CALLS,
        POLICY_ERRORS,
        COMMITS,
        COMMIT_TIME,
        COMMITTED,
        WAITING,
        HELD,
        SEGMENTS,
        ACCEPTING,
        LAG,
        SUSPENSIONS,
        UP,
        RESTARTS,
        ALARM,
    ),
)


def metrics(parts: Parts, lags: dict[str, float], alarms: Iterable[Alarm]) -> list[Sample]:
    """A snapshot. lags: see overview.lags."""
    queue = parts.queue
    delivery = parts.deliverer.stats()
    journal = parts.journal.stats()
    summary = queue.summary()
    totals = {state: sum(getattr(count, state) for count in summary) for state in ("active", "delayed", "in_flight")}
    hooks = parts.policies.counts()
    named = dict.fromkeys(ALARMS, 0)
    for alarm in alarms:
        named[alarm.name] += 1
    return [
        Sample(INFO, 1, (__version__,)),
        Sample(ACCEPTED, journal.accepted),
        Sample(ENDED, journal.terminal),
        Sample(BOUNCED, queue.bounced),
        Sample(ATTEMPTS, delivery.delivered, ("delivered",)),
        Sample(ATTEMPTS, delivery.deferred, ("deferred",)),
        Sample(ATTEMPTS, delivery.failed, ("failed",)),
        Sample(REFUSED, queue.refused),
        Sample(REJECTED, queue.rejections),
        *(Sample(MESSAGES, number, (state,)) for state, number in totals.items()),
        Sample(PATHS, len(summary)),
        *(
            Sample(TOP, getattr(count, state), (count.binding, count.domain, state))
            for count in summary[:_TOP]
            for state in totals
        ),
        Sample(RESIDENT, queue.resident),
        Sample(SESSIONS, parts.sessions()),
        Sample(AUTH_FAILURES, parts.failed_logins()),
        Sample(TLS_FAILURES, parts.failed_handshakes()),
        Sample(CONNECTIONS, delivery.busy, ("busy",)),
        Sample(CONNECTIONS, delivery.idle, ("idle",)),
        Sample(CONNECTIONS, delivery.connecting, ("connecting",)),
        Sample(OPENED, delivery.opened),
        Sample(REUSED, delivery.reused),
        Sample(AVOIDED, delivery.avoided),
        *(Sample(RULED, number, (name,)) for name, number in parts.deliverer.rule_counts().items()),
        Sample(BLACKHOLED, delivery.blackholed),
        *(Sample(POLICY_CALLS, hook.calls, (hook.plugin, hook.phase)) for hook in hooks),
        *(Sample(POLICY_ERRORS, hook.errors, (hook.plugin, hook.phase)) for hook in hooks),
        Sample(COMMITS, journal.commits),
        Sample(COMMIT_TIME, journal.commit_seconds),
        Sample(COMMITTED, journal.committed_mail, ("mail",)),
        Sample(COMMITTED, journal.committed_events, ("events",)),
        Sample(WAITING, journal.waiting_mail, ("mail",)),
        Sample(WAITING, journal.waiting_events, ("events",)),
        Sample(HELD, journal.held_events),
        Sample(SEGMENTS, journal.mail_segments, ("mail",)),
        Sample(SEGMENTS, journal.event_segments, ("events",)),
        Sample(ACCEPTING, 1 if parts.refusal() is None else 0),
        *(Sample(LAG, lag, (name,)) for name, lag in sorted(lags.items())),
        Sample(SUSPENSIONS, len(queue.suspensions.rules)),
        *(Sample(ALARM, number, (name,)) for name, number in named.items()),
    ]


Named = tuple[str, float, Sequence[str]]  # a sample by the name of its metric

_BY_NAME = {metric.name: metric for metric in METRICS}


def join(engines: Mapping[int, Iterable[Named]]) -> list[Sample]:
    """The samples of several engines as those of one server. A metric that is not known here is left out: an engine may
    be newer than we are."""
    found: dict[tuple[Metric, tuple[str, ...]], float] = {}
    for number, samples in sorted(engines.items()):
        for name, value, given in samples:
            metric = _BY_NAME.get(name)
            if metric is None:
                continue
            labels = tuple(given)
            if metric.joined == "each":
                metric, labels = labelled(metric), (*labels, str(number))
            before = found.get((metric, labels))
            if before is not None:
                value = max(before, value) if metric.joined == "max" else before + value
            found[metric, labels] = value
    samples_ = [Sample(metric, value, labels) for (metric, labels), value in found.items()]
    return [sample for sample in samples_ if sample.metric is not TOP] + _fullest(samples_)


def labelled(metric: Metric) -> Metric:
    """As a server of engines tells it."""
    return metric._replace(labels=(*metric.labels, "engine")) if metric.joined == "each" else metric


def _fullest(samples: Iterable[Sample]) -> list[Sample]:
    """Each engine tells its own fullest paths; the labels stay bounded."""
    paths: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        if sample.metric is TOP:
            paths.setdefault(sample.labels[:2], []).append(sample)
    fullest = sorted(paths.values(), key=lambda some: -sum(sample.value for sample in some))
    return [sample for some in fullest[:_TOP] for sample in some]


def render(samples: Iterable[Sample]) -> str:
    """The samples of each metric together, as the format wants it."""
    by_metric: dict[Metric, list[Sample]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    lines = []
    for metric, found in by_metric.items():
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in found:
            named = ",".join(
                f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, sample.labels, strict=True)
            )
            lines.append(f"{metric.name}{{{named}}} {_number(sample)}" if named else f"{metric.name} {_number(sample)}")
    return "\n".join(lines) + "\n"


def _number(sample: Sample) -> str:
    value = sample.value
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
