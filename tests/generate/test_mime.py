from __future__ import annotations

import email
import email.policy
import random
from collections.abc import Callable
from email.message import EmailMessage
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.generate import Attachment, BuildError, BuildErrors, Content, Filling, Letter, Person, draft, to_field

SENDER = Person("Sender", "from@a.example")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
plain = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)
files = st.builds(
    Attachment,
    name=plain,
    type=st.sampled_from(["application/pdf", "image/png", 'text/csv; header="present"', "application/octet-stream"]),
    data=st.binary(max_size=300),
)


def boundaries(seed: int = 1) -> Callable[[], str]:
    rng = random.Random(seed)
    return lambda: f"=_{rng.getrandbits(96):024x}"


def build(content: Content, to: bytes = b"To: to@b.example\r\n") -> bytes:
    date = b"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
    return draft(content, boundaries()).letter(Filling(to, date, b"Message-ID: <1@mx.example>\r\n")).content


def letter(content: Content, seed: int = 1) -> Letter:
    return draft(content, boundaries(seed)).letter(Filling())


def parse(message: bytes) -> EmailMessage:
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    for part in parsed.walk():
        assert not part.defects, part.defects
        assert not any(value.defects for value in part.values())
    return parsed


def shape(message: EmailMessage) -> object:
    """The tree of content types."""
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        return (message.get_content_subtype(), [shape(cast(EmailMessage, part)) for part in message.iter_parts()])
    return message.get_content_type()


def lines(text: str) -> str:
    """A text as it comes out: one kind of line end, and one at the end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def text_of(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


@given(
    subject=plain, text=st.none() | texts, html=st.none() | texts, amp=st.none() | texts,
    attachments=st.lists(files, max_size=3), images=st.lists(files, max_size=2),
)  # fmt: skip
def test_the_standard_library_reads_back_what_went_in(
    subject: str,
    text: str | None,
    html: str | None,
    amp: str | None,
    attachments: list[Attachment],
    images: list[Attachment],
) -> None:
    if text is None and html is None:
        text = "text"
    images = [image._replace(name=f"image{number}") for number, image in enumerate(images)]
    content = Content(
        sender=SENDER,
        subject=subject,
        text=text,
        html=html,
        amp_html=amp,
        attachments=attachments,
        inline_images=images,
    )
    message = parse(build(content))
    found: dict[str, list[EmailMessage]] = {"texts": [], "attachment": [], "inline": []}
    for part in message.walk():
        if part.get_content_maintype() != "multipart":
            found[part.get_content_disposition() or "texts"].append(part)
    wanted = [
        (kind, lines(value))
        for kind, value in (("text/plain", text), ("text/x-amp-html", amp), ("text/html", html))
        if value is not None
    ]
    assert [(part.get_content_type(), text_of(part)) for part in found["texts"]] == wanted
    for kind, given_files in (("attachment", attachments), ("inline", images)):
        assert len(found[kind]) == len(given_files)
        for part, file in zip(found[kind], given_files, strict=True):
            assert part.get_payload(decode=True) == file.data
            assert part.get_content_type() == file.type.partition(";")[0]
            assert (part.get_filename() or "") == file.name.strip()  # get_filename strips
    assert [part["Content-ID"] for part in found["inline"]] == [f"<{image.name}>" for image in images]


FILE = Attachment("a.pdf", "application/pdf", b"%PDF")
IMAGE = Attachment("logo", "image/png", b"png")
ALTERNATIVE = ("alternative", ["text/plain", "text/html"])


@pytest.mark.parametrize(
    ("content", "tree"),
    [
        (Content(sender=SENDER, text="t"), "text/plain"),
        (Content(sender=SENDER, html="h"), "text/html"),
        (Content(sender=SENDER, text="t", html="h"), ALTERNATIVE),
        (
            Content(sender=SENDER, text="t", html="h", amp_html="a"),
            ("alternative", ["text/plain", "text/x-amp-html", "text/html"]),
        ),
        (Content(sender=SENDER, html="h", inline_images=[IMAGE]), ("related", ["text/html", "image/png"])),
        (
            Content(sender=SENDER, text="t", html="h", inline_images=[IMAGE]),
            ("alternative", ["text/plain", ("related", ["text/html", "image/png"])]),
        ),
        (
            Content(sender=SENDER, text="t", html="h", inline_images=[IMAGE], attachments=[FILE, FILE]),
            (
                "mixed",
                [
                    ("alternative", ["text/plain", ("related", ["text/html", "image/png"])]),
                    "application/pdf",
                    "application/pdf",
                ],
            ),
        ),
        (Content(sender=SENDER, text="t", inline_images=[IMAGE]), ("mixed", ["text/plain", "image/png"])),
        (Content(sender=SENDER, text="t", attachments=[FILE]), ("mixed", ["text/plain", "application/pdf"])),
    ],
)
def test_structure(content: Content, tree: object) -> None:
    assert shape(parse(build(content))) == tree


def test_headers() -> None:
    content = Content(
        sender=Person("Jürgen", "j@a.example"),
        subject="Grüße",
        text="t",
        reply_to="a@b.example, Ünal <u@b.example>",
        headers={"CC": "c@d.example", "cc": "Ä <e@f.example>", "X-Ä".replace("Ä", "A"): "ö", "X-Empty": " "},
    )
    message = parse(build(content, to_field("address", "to@b.example", "Tö")))
    assert message["From"] == "Jürgen <j@a.example>"
    assert message["To"] == "Tö <to@b.example>"
    assert message["Subject"] == "Grüße"
    assert message["Reply-To"] == "a@b.example, Ünal <u@b.example>"
    assert message.get_all("Cc") == ["c@d.example, Ä <e@f.example>"]
    assert message["X-A"] == "ö"
    assert "X-Empty" not in message
    assert message["MIME-Version"] == "1.0"
    assert message["Date"].datetime.timestamp() == 0
    assert message["Message-ID"] == "<1@mx.example>"


def test_fields_that_are_not_passed_on() -> None:
    headers = {"Bcc": "secret@b.example", "X-MSYS-API": "{}", "Return-Path": "<x@y>", "MIME-Version": "1.0"}
    message = parse(build(Content(sender=SENDER, text="t", headers=headers)))
    assert message.get_all("MIME-Version") == ["1.0"]
    assert not {"bcc", "x-msys-api", "return-path"} & {name.lower() for name in message}


def test_own_date_and_message_id_replace_ours() -> None:
    headers = {"date": "Fri, 2 Jan 1970 00:00:00 +0000", "Message-Id": "<own@a.example>"}
    message = parse(build(Content(sender=SENDER, text="t", headers=headers)))
    assert message.get_all("Date") == ["Fri, 02 Jan 1970 00:00:00 +0000"]
    assert message.get_all("Message-ID") == ["<own@a.example>"]


def test_a_message_inside_goes_as_it_is() -> None:
    inner = b"From: x@y.example\r\nSubject: inner\r\n\r\nbody\r\n"
    outer = parse(build(Content(sender=SENDER, text="t", attachments=[Attachment("m.eml", "message/rfc822", inner)])))
    (part,) = list(outer.iter_attachments())
    assert part["Content-Transfer-Encoding"] == "7bit"
    assert part.get_content()["Subject"] == "inner"


def test_smtputf8() -> None:
    assert not letter(Content(sender=Person("Jürgen", "j@a.example"), text="é")).smtputf8
    assert letter(Content(sender=Person("", "jürgen@a.example"), text="t")).smtputf8


def test_boundaries_come_from_the_caller() -> None:
    content = Content(sender=SENDER, text="t", html="h")
    first, second = (letter(content, seed).content for seed in (1, 1))
    assert first == second
    assert first != letter(content, 2).content


def test_every_error_is_told() -> None:
    content = Content(
        sender=Person("a\r\nb", "from@a.example"),
        subject="a\nb",
        text="t",
        reply_to="<a@b> <c@d>" + "é",
        headers={"To": "x@y.example", "Bad Name": "v", "X-A": "a\0b", "Content-Language": "de", "x-b": "1", "X-B": "2"},
        attachments=[Attachment("a\r\n", "a/b", b""), Attachment("x" * 256, "a/b", b""), Attachment("", "bad", b"")],
        inline_images=[IMAGE, IMAGE, Attachment("a>b", "image/png", b""), Attachment("n", "multipart/mixed", b"")],
    )
    with pytest.raises(BuildErrors) as caught:
        draft(content, boundaries())
    assert [error.field for error in caught.value.errors if isinstance(error, BuildError)] == [
        "from",
        "subject",
        "reply_to",
        "headers.To",
        "headers.Bad Name",
        "headers.X-A",
        "headers.Content-Language",
        "headers.X-B",
        "inline_images[1].name",
        "inline_images[2].name",
        "inline_images[3].type",
        "attachments[0].name",
        "attachments[1].name",
        "attachments[2].type",
    ]


def test_something_to_say_is_needed() -> None:
    with pytest.raises(BuildErrors, match="text: or html must be given"):
        draft(Content(sender=SENDER), boundaries())
    with pytest.raises(BuildErrors, match="amp_html: needs text or html"):
        draft(Content(sender=SENDER, amp_html="a"), boundaries())
