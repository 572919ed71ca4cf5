from __future__ import annotations

import email
import email.policy
import random
import re
from email.message import EmailMessage, Message
from typing import Any

import msgspec
import pytest

from postroad.generate import Site
from postroad.inject.http import (
    Failure,
    Mailing,
    Setting,
    StoredTemplate,
    Tracking,
    TransmissionContent,
    Unmade,
    decode,
)
from postroad.message import IdSource, Transaction
from postroad.message.links import Aim, LinkKeys
from tests.inject.http.stock import MemoryStock

WALL = 1_700_000_000.0
KEYS = LinkKeys({1: b"k" * 32}, 1)
SITE = Site("https://click.a.example", KEYS)


@pytest.fixture
def stock() -> MemoryStock:
    return MemoryStock()


def mailing(stock: MemoryStock, number: int = 0, subaccount: int = 0, **request: Any) -> Mailing:
    rng = random.Random(1)
    setting = Setting(
        "mx.example", IdSource(lambda: WALL), lambda: f"=_{rng.getrandbits(96):024x}", 1 << 20, 1000, stock=stock
    )
    given = {"recipients": ["Kim@b.example"], "content": content(), **request}
    made = Mailing(decode(msgspec.json.encode(given)), setting, WALL, {}, number, subaccount)
    made.read(0, made.total)
    return made


def content(**members: Any) -> dict[str, Any]:
    return {"from": "Shop <shop@a.example>", "subject": "Hello", "text": "Hello\n", **members}


def only(made: Mailing) -> Transaction:
    (transaction,) = made.transactions()
    assert not made.unmade
    return transaction


def parse(transaction: Transaction) -> EmailMessage:
    parsed = email.message_from_bytes(bytes(transaction.body), policy=email.policy.default)
    assert all(not part.defects for part in parsed.walk())
    return parsed


def text(part: Message | None) -> str:
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def failed(made: Mailing) -> Unmade:
    assert list(made.transactions()) == []
    (unmade,) = made.unmade
    return unmade


def test_every_part_is_substituted(stock: MemoryStock) -> None:
    made = mailing(
        stock,
        content={
            "from": {"name": "{{firm}}", "email": "{{box}}@a.example"},
            "subject": "For {{name}}",
            "reply_to": "{{name}} <{{box}}@a.example>",
            "headers": {"X-Id": "{{id}}", "X-None": "{{missing}}", "Cc": "{{box}}@c.example"},
            "text": "Hi {{name}}",
            "html": "<p>{{name}}</p>",
            "amp_html": "<html amp4email>{{id}}</html>",
        },
        substitution_data={"firm": 'A, "B" & C', "box": "news", "name": "M <i>", "id": 7},
    )
    transaction = only(made)
    message = parse(transaction)
    assert message["From"].addresses[0].display_name == 'A, "B" & C'
    assert message["From"].addresses[0].addr_spec == transaction.sender == "news@a.example"
    assert message["Subject"] == transaction.event["subject"] == "For M <i>"
    assert transaction.event["friendly_from"] == "news@a.example"
    assert (message["X-Id"], message["X-None"], message["Cc"]) == ("7", None, "news@c.example")
    assert text(message.get_body(("plain",))) == "Hi M <i>\n"
    assert text(message.get_body(("html",))) == "<p>M &lt;i&gt;</p>\n"
    assert "text/x-amp-html" in [part.get_content_type() for part in message.walk()]


def test_later_data_wins(stock: MemoryStock) -> None:
    body = "{{a}}{{b}}{{c}}{{d}} {{email}} {{address.name}} {{address.city}} {{return_path}}"
    made = mailing(
        stock,
        content=content(text=body),
        return_path="bounce@a.example",
        metadata={"a": 1, "b": 1, "c": 1, "d": 1},
        substitution_data={"b": 2, "c": 2, "d": 2},
        recipients=[
            {
                "address": {"email": "kim@b.example", "name": "Kim"},
                "metadata": {"c": 3, "d": 3},
                "substitution_data": {"d": 4, "email": "forged@b.example", "address": {"city": "Rome", "name": "X"}},
            }
        ],
    )
    assert text(parse(only(made))) == "1234 kim@b.example Kim Rome bounce@a.example\n"


def test_substitution_can_be_off_but_not_in_headers(stock: MemoryStock) -> None:
    made = mailing(
        stock,
        content=content(subject="{{name}}", text="{{name}}", headers={"X": "{{name}}"}),
        substitution_data={"name": "Mara"},
        options={"perform_substitutions": False},
    )
    message = parse(only(made))
    assert (message["Subject"], message["X"], text(message)) == ("Mara", "Mara", "{{name}}\n")


@pytest.mark.parametrize("member", ["subject", "from", "reply_to", "headers"])
@pytest.mark.parametrize(
    "evil", ["x\r\nBcc: e@e.example", "x\nBcc: e@e.example", "x\rBcc: e@e.example", "x\0Bcc: e@e.example"]
)
def test_no_value_adds_a_header(stock: MemoryStock, member: str, evil: str) -> None:
    shown: Any = {"from": "{{v}} <shop@a.example>", "headers": {"X-V": "{{v}}"}, "reply_to": "{{v}} <r@a.example>"}
    made = mailing(stock, content=content(**{member: shown.get(member, "{{v}}")}), substitution_data={"v": evil})
    message = parse(only(made))
    assert message["Bcc"] is None
    assert len(message.keys()) == len(set(message.keys()))


@pytest.mark.parametrize(
    "address", ["x", "a@b.example, c@d.example", "a b@c.example", "a@-.example", "", "a@b..example"]
)
def test_a_from_that_becomes_no_address_fails_alone(stock: MemoryStock, address: str) -> None:
    made = mailing(
        stock,
        content=content(**{"from": "{{f}}"}),
        recipients=[
            {"address": "bad@b.example", "substitution_data": {"f": address}},
            {"address": "good@b.example", "substitution_data": {"f": "f@a.example"}},
        ],
    )
    (good,) = made.transactions()
    assert [each.address for each in good.recipients] == ["good@b.example"]
    (unmade,) = made.unmade
    assert unmade.place == 0
    assert unmade.text.startswith("5.3.3 [internal] from")


def test_idn_and_homographs(stock: MemoryStock) -> None:
    """A look-alike is shown as what it is: in ASCII form."""
    made = mailing(stock, content=content(**{"from": "{{f}}"}), substitution_data={"f": "a@p\u0430ypal.example"})
    message = bytes(only(made).body)
    assert b"From: a@xn--pypal-4ve.example\r\n" in message


def test_a_render_error_is_told_with_the_data(stock: MemoryStock) -> None:
    made = mailing(stock, content=content(text="{{nobody.name}}"), substitution_data={"a": 1})
    unmade = failed(made)
    problem = "Error while rendering part text: line 1: substitution value 'nobody' did not exist or was null"
    assert unmade.text == f"5.3.3 [internal] {problem}"
    (recipient,) = unmade.transaction.recipients
    assert recipient.event is not None
    assert recipient.event["rcpt_subs"] == {"a": 1}
    assert not unmade.suppressed


def test_portions_are_in_order_and_marked(stock: MemoryStock) -> None:
    recipients: list[Any] = [{"address": f"r{n}@b.example", "substitution_data": {"n": {"n": n}}} for n in range(5)]
    recipients[1] = {"address": "nonsense"}
    recipients[3] = {"address": "r3@b.example"}
    made = mailing(stock, 77, content=content(text="{{n.n}}"), recipients=recipients)
    assert made.id == "77"
    transactions, unmade = made.portion(1, 5, 77)
    assert [each.recipients[0].job for each in transactions] == [(77, 2), (77, 4)]
    assert [text(parse(each)) for each in transactions] == ["2\n", "4\n"]
    assert [each.place for each in unmade] == [3]
    assert unmade[0].transaction.recipients[0].job == (77, 3)


def test_what_all_share_stays_one_body(stock: MemoryStock) -> None:
    recipients = [{"address": {"email": f"r{n}@b.example", "header_to": "all@b.example"}} for n in range(3)]
    made = mailing(stock, recipients=recipients)
    assert len(only(made).recipients) == 3


TEMPLATE = msgspec.convert(content(subject="Stored {{v}}", text="{{v}}"), TransmissionContent)


def test_stored_template(stock: MemoryStock) -> None:
    stock.templates["t", False] = StoredTemplate("t", 3, TEMPLATE, Tracking(open_tracking=False), True)
    made = mailing(stock, content={"template_id": "t"}, substitution_data={"v": "x"})
    transaction = only(made)
    assert parse(transaction)["Subject"] == "Stored x"
    event = transaction.event
    assert (event["template_id"], event["template_version"], event["transactional"]) == ("t", "3", "1")
    assert (event["open_tracking"], event["click_tracking"]) == (False, True)


@pytest.mark.parametrize(
    ("given", "code", "description"),
    [
        ({"template_id": "none"}, "1603", "template 'none' does not exist"),
        ({"template_id": "t", "use_draft_template": True}, "2004", "template 't' has no draft version"),
        ({"template_id": "d"}, "2005", "template 'd' has no published version"),
        ({"template_id": "t", "text": "x"}, "1301", "Both content object and template_id are specified"),
        ({"ab_test_id": "none"}, "1603", "ab_test_id 'none' does not exist"),
        ({"ab_test_id": "ab", "template_id": "t"}, "1301", "content.ab_test_id can not be combined"),
    ],
)
def test_no_such_content(stock: MemoryStock, given: dict[str, Any], code: str, description: str) -> None:
    stock.templates["t", False] = StoredTemplate("t", 1, TEMPLATE)
    stock.templates["d", True] = StoredTemplate("d", 1, TEMPLATE)
    stock.tests["ab"] = "t"
    with pytest.raises(Failure) as failure:
        mailing(stock, content=given)
    (fault,) = failure.value.faults
    assert fault.code == code
    assert fault.description.startswith(description)


def test_ab_test_is_for_one(stock: MemoryStock) -> None:
    stock.templates["t", False] = StoredTemplate("t", 1, TEMPLATE)
    stock.tests["ab"] = "t"
    event = only(mailing(stock, content={"ab_test_id": "ab"})).event
    assert (event["ab_test_id"], event["template_id"]) == ("ab", "t")
    with pytest.raises(Failure, match="takes one recipient"):
        mailing(stock, content={"ab_test_id": "ab"}, recipients=["a@b.example", "c@d.example"])


def test_template_of_another_account_is_not_there(stock: MemoryStock) -> None:
    stock.templates["t", False] = StoredTemplate("t", 1, TEMPLATE)
    with pytest.raises(Failure, match="does not exist"):
        mailing(stock, content={"template_id": "t"}, subaccount=5)


def test_override_is_not_substituted(stock: MemoryStock) -> None:
    stock.templates["t", False] = StoredTemplate("t", 1, TEMPLATE)
    override = {"from": {"email": "o@a.example"}, "reply_to": "{{v}} <r@a.example>", "list_id": "news.a.example"}
    message = parse(only(mailing(stock, content={"template_id": "t"}, substitution_data={"v": "x"}, override=override)))
    assert message["From"].addresses[0].display_name == "Shop"
    assert message["From"].addresses[0].addr_spec == "o@a.example"
    assert "{{v}}" in message["Reply-To"]
    assert message["List-Id"] == "news.a.example"


def test_stored_list(stock: MemoryStock) -> None:
    stock.lists["l"] = ["one@b.example", "two@b.example"]
    made = mailing(stock, recipients={"list_id": "l"})
    assert made.total == made.accepted == 2
    with pytest.raises(Failure, match="recipient list 'x' does not exist"):
        mailing(stock, recipients={"list_id": "x"})


def test_snippets(stock: MemoryStock) -> None:
    stock.snippets["s"] = "by {{v}}"
    made = mailing(stock, content=content(text="{{render_snippet('s')}}"), substitution_data={"v": "us"})
    assert text(parse(only(made))) == "by us\n"
    assert "none" in failed(mailing(stock, content=content(text="{{render_snippet('none')}}"))).text


@pytest.mark.parametrize(
    ("options", "override", "suppressed"),
    [
        ({}, {}, True),
        ({"transactional": True}, {}, False),
        ({"skip_suppression": True}, {}, False),
        ({}, {"list_id": "l.example"}, True),
    ],
)
def test_suppression(stock: MemoryStock, options: dict[str, Any], override: dict[str, Any], suppressed: bool) -> None:
    stock.wanted_not.add(("Kim@b.example", False, ""))
    made = mailing(stock, options=options, override=override)
    assert len(list(made.transactions())) == (not suppressed)
    assert [each.suppressed for each in made.unmade] == [True] * suppressed
    if suppressed:
        assert made.unmade[0].text == "5.7.1 recipient address was suppressed due to customer policy"


@pytest.mark.parametrize("listed", ["l.example", "<l.example>", "The list <l.example>"])
@pytest.mark.parametrize("overridden", [False, True])
def test_suppression_of_a_list(stock: MemoryStock, listed: str, overridden: bool) -> None:
    stock.wanted_not.add(("Kim@b.example", False, "l.example"))
    said: dict[str, Any] = {"override": {"list_id": listed}} if overridden else {}
    made = mailing(stock, content=content(headers={} if overridden else {"list-ID": listed}), **said)
    assert [list(made.transactions()), [each.suppressed for each in made.unmade]] == [[], [True]]
    assert len(list(mailing(stock, content=content(headers={"List-Id": "<m.example>"})).transactions())) == 1


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("metadata", "order-id"),
        ("metadata", ""),
        ("substitution_data", "1st"),
        ("substitution_data", "a b"),
        ("substitution_data", "größe"),
        ("substitution_data", "end"),
        ("substitution_data", "x\r\nTo: y"),
    ],
)
def test_a_name_that_no_template_can_use(stock: MemoryStock, member: str, name: str) -> None:
    given: dict[str, Any] = {member: {"good": 1, name: 1}}
    with pytest.raises(Failure) as told:
        mailing(stock, **given)
    (found,) = told.value.faults
    assert (found.code, found.description.startswith(f"{member}: '{name}' is ")) == ("1300", True)
    made = mailing(stock, recipients=["a@b.example", {"address": "k@b.example", member: {name: 1}}])
    assert made.accepted == 1
    (found,) = made.faults
    assert (found.code, found.description.startswith(f"recipient k@b.example: {member}: '{name}' is ")) == (
        "1300",
        True,
    )


def test_names_that_are_good(stock: MemoryStock) -> None:
    data = {"_a": 1, "B9": {"odd-key": 1}, "email": "x", "loop_var": 1}
    assert only(mailing(stock, substitution_data=data, metadata={**data, "end": "2027-01-31"}))


HTML = """<html><body class="x"><p><a href="https://a.example/?u={{user}}" data-msys-linkname="main">go</a>
<a href="https://a.example/raw" data-msys-clicktrack="0">raw</a></p></BODY></html>"""


def test_links_pixels_and_unsubscribing(stock: MemoryStock) -> None:
    stock.sites["a.example"] = SITE
    made = mailing(
        stock,
        content=content(
            html=HTML, text="See https://a.example/t.", headers={"List-Unsubscribe": "<mailto:u@a.example>"}
        ),
        substitution_data={"user": "k&m"},
        campaign_id="spring",
        metadata={"tier": "gold", "long": "x" * 2000},
    )
    transaction = only(made)
    message = parse(transaction)
    html, plain = text(message.get_body(("html",))), text(message.get_body(("plain",)))
    (click,) = re.findall(r'href="https://click.a.example/f/([\w-]+)"', html)
    about, linked = KEYS.read(click, WALL)
    assert (linked.url, linked.name) == ("https://a.example/?u=k%26m", "main")
    assert (about.transmission, about.message) == (made.id, str(transaction.id))
    assert (about.recipient, about.campaign, about.sender) == ("Kim@b.example", "spring", "shop@a.example")
    assert about.metadata == {"tier": "gold"}
    assert 'href="https://a.example/raw"' in html
    assert "data-msys" not in html
    assert re.search(r'<body class="x"><img [^>]*src="https://click.a.example/o/[\w-]+">', html)
    assert re.search(r'<img [^>]*src="https://click.a.example/q/[\w-]+">\n</BODY>', html)
    (in_text,) = re.findall(r"See https://click.a.example/f/([\w-]+)\.", plain)
    assert KEYS.read(in_text, WALL)[1].url == "https://a.example/t"
    (unsubscribe,) = re.findall(r"<https://click.a.example/u/([\w-]+)>", message["List-Unsubscribe"])
    assert KEYS.read(unsubscribe, WALL)[1].aim == Aim.UNSUBSCRIBE
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "mailto" not in message["List-Unsubscribe"]


@pytest.mark.parametrize(
    ("options", "mine", "clicks", "opens"),
    [
        ({}, {}, 1, 2),
        ({"click_tracking": False}, {}, 0, 2),
        ({"open_tracking": False}, {}, 1, 0),
        ({"initial_open": False}, {}, 1, 1),
        ({"click_tracking": False}, {"click_tracking": True, "open_tracking": False, "initial_open": False}, 1, 0),
    ],
)
def test_wishes(stock: MemoryStock, options: dict[str, Any], mine: dict[str, Any], clicks: int, opens: int) -> None:
    stock.sites["a.example"] = SITE
    recipients = [{"address": "k@b.example", "options": mine}]
    html = text(
        parse(only(mailing(stock, content=content(html=HTML, text=None), options=options, recipients=recipients)))
    )
    assert len(re.findall(r"click.a.example/f/", html)) == clicks
    assert len(re.findall(r"click.a.example/[oq]/", html)) == opens


def test_without_a_site_links_stay(stock: MemoryStock) -> None:
    html = text(parse(only(mailing(stock, content=content(html=HTML, text=None), substitution_data={"user": "k"}))))
    assert 'href="https://a.example/?u=k"' in html
    assert "<img" not in html


def test_a_named_tracking_domain(stock: MemoryStock) -> None:
    stock.sites["t.example"] = Site("https://t.example", KEYS)
    made = mailing(stock, content=content(html=HTML, text=None), tracking_domain="t.example")
    assert "https://t.example/f/" in text(parse(only(made)))
    with pytest.raises(Failure, match=r"tracking_domain 'x\.example' does not exist"):
        mailing(stock, tracking_domain="x.example")


def test_css_is_inlined_on_wish(stock: MemoryStock) -> None:
    html = "<html><head><style>p {color: red}</style></head><body>{{if t}}<p>{{v}}</p>{{end}}</body></html>"
    made = mailing(
        stock,
        content=content(html=html, text=None),
        options={"inline_css": True},
        substitution_data={"t": True, "v": "a < b"},
    )
    shown = text(parse(only(made)))
    assert '<p style="color: red' in shown
    assert "a &lt; b" in shown


def test_a_known_boundary_ends_no_part(stock: MemoryStock) -> None:
    request: dict[str, Any] = {"content": content(text="Hi {{v}}", html="<p>x</p>"), "substitution_data": {"v": "x"}}
    boundary = parse(only(mailing(stock, **request))).get_boundary()
    request["substitution_data"] = {"v": f"\n--{boundary}\nContent-Type: text/html\n\nevil\n--{boundary}--\n"}
    message = parse(only(mailing(stock, **request)))
    assert message.get_boundary() == boundary  # what is compiled is kept
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]


RAW = (
    "From: Shop <shop@a.example>\r\nTo: all@b.example\r\nSubject: For {{name}}\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
    "Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\nX-Own: 1\r\n\r\n"
    '<p>Gr=FC=DFe {{name}} <a href=3D"https://a.example/">x</a></p>\r\n--b\r\n'
    "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\n{{name}}\r\n--b--\r\n"
)


def test_rfc822(stock: MemoryStock) -> None:
    stock.sites["a.example"] = SITE
    made = mailing(stock, content={"email_rfc822": RAW}, substitution_data={"name": "J\u00f6rg"})
    transaction = only(made)
    message = parse(transaction)
    assert message["Subject"] == transaction.event["subject"] == "For J\u00f6rg"
    assert message["To"] == "all@b.example"
    html, attached = [part for part in message.walk() if not part.is_multipart()]
    assert text(html).startswith('<p>Gr\u00fc\u00dfe J\u00f6rg <a href="https://click.a.example/f/')
    assert (html["X-Own"], html.get_content_charset()) == ("1", "utf-8")
    assert text(attached) == "{{name}}"


@pytest.mark.parametrize("kind", ["multipart/signed", "multipart/encrypted"])
def test_what_is_signed_is_left_alone(stock: MemoryStock, kind: str) -> None:
    raw = RAW.replace("multipart/mixed", kind).replace("For {{name}}", "s")
    stock.sites["a.example"] = SITE
    assert only(mailing(stock, content={"email_rfc822": raw})).body.content == raw.encode()


def test_rfc822_of_one_part(stock: MemoryStock) -> None:
    raw = "From: {{f}}@a.example\nSubject: s\nContent-Type: text/plain\n\n{{v}}\n"
    made = mailing(stock, content={"email_rfc822": raw}, substitution_data={"f": "us", "v": "\u00e9"})
    transaction = only(made)
    message = parse(transaction)
    assert transaction.sender == "us@a.example"
    assert (message["MIME-Version"], message["Content-Transfer-Encoding"]) == ("1.0", "quoted-printable")
    assert text(message) == "\u00e9\n"
