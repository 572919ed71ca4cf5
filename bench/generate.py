"""CPU of mail merge: a 10 KB HTML message, 5 substitutions, 10 tracked links: `python -m bench.generate`."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from postroad.generate import Site, Wishes, trackers
from postroad.generate.template import HTML, compile
from postroad.inject.http import Mailing, Nothing, Setting, decode
from postroad.message import IdSource
from postroad.message.links import About, LinkKeys

LINE = "    <td class='offer'>The quick brown fox jumps over the lazy dog.</td>\n"
LINK = '    <a href="https://shop.example.com/offers/{}?utm_source=mail" data-msys-linkname="offer {}">See it</a>\n'
VALUES = (
    "    <p>{{name}}, {{address.city}}: {{points + 5}} points{{if premium}}, {{premium}}{{end}} {{code or 'x'}}</p>\n"
)
DATA: dict[str, object] = {
    "name": "Mara O'Neill",
    "address": {"city": "Rome"},
    "points": 20,
    "premium": "gold",
    "code": "<A&B>",
}
SIZE = 10 * 1024


def source() -> str:
    links = "".join(LINK.format(number, number) for number in range(10))
    body = VALUES + links
    return "<html><body>\n" + body + LINE * ((SIZE - len(body)) // len(LINE)) + "</body></html>\n"


KEYS = LinkKeys({1: b"k" * 32}, 1)
ABOUT = About("1", "2", "b@example.net", 1_700_000_000)
track = trackers(Site("https://click.example.com", KEYS), ABOUT, Wishes()).track


class Stock(Nothing):
    """All links are tracked."""

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        return Site("https://click.example.com", KEYS)


def mailing(text: str, stock: Nothing, recipients: int) -> Mailing:
    """A transmission of this HTML and a text, to as many recipients, each with data of its own."""
    request = {
        "recipients": [
            {"address": {"email": f"r{n}@example.net", "name": "Mara"}, "substitution_data": DATA}
            for n in range(recipients)
        ],
        "content": {
            "from": "Sender <a@example.com>",
            "subject": "For {{name}}",
            "text": "Hello {{name}}",
            "html": text,
        },
    }
    setting = Setting("mx.example.com", IdSource(time.time), lambda: "=_b0undary", 1 << 20, recipients, stock=stock)
    return Mailing(decode(msgspec.json.encode(request)), setting, time.time(), {})


def cpu(work: Callable[[], object]) -> float:
    """Milliseconds of CPU a call, all threads: the best of five runs."""
    best = float("inf")
    for _ in range(5):
        count = 0
        begin = time.process_time()
        while time.process_time() - begin < 0.2:
            work()
            count += 1
        best = min(best, (time.process_time() - begin) / count)
    return best * 1000


def main() -> None:
    text = source()
    html = compile(text, HTML)
    count = 200
    plain, tracked = mailing(text, Nothing(), count), mailing(text, Stock(), count)
    made, unmade = tracked.portion(0, 1, 0)
    assert not unmade
    print(f"{len(text)} characters of HTML, {html.tracked} links, {len(made[0].body)} octets of message")
    for name, work, each in (
        ("compile", lambda: compile(text, HTML), 1),
        ("render", lambda: html.render(DATA), 1),
        ("render, links signed", lambda: html.render(DATA, track=track), 1),
        ("a recipient, to the transaction", lambda: plain.portion(0, count, 0), count),
        ("a recipient, links signed", lambda: tracked.portion(0, count, 0), count),
        ("a request for one, links signed", lambda: mailing(text, Stock(), 1).portion(0, 1, 0), 1),
    ):
        print(f"{name:32}{cpu(work) / each:9.4f} ms")


if __name__ == "__main__":
    main()
