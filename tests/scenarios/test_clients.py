"""Real clients -> a real Postroad -> real far ends: what the client saw, and what arrived, octet for octet."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default

import pytest

from tests.scenarios import clients
from tests.scenarios.clients import Client, Said
from tests.scenarios.real_ends import Aiosmtpd, SmtpSink, added
from tests.scenarios.scene import Scene, playing
from tests.scenarios.server import until

HEAD = (
    b"From: a@sender.test\r\nTo: somebody@far.test\r\nSubject: octets\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\n\r\n"
)
SAMPLES = {
    "plain": HEAD + b"Hello\r\n",
    "dots": HEAD + b".\r\n..\r\n.a\r\n...\r\n a.\r\n. .\r\n.\r\n",
    "a lone dot": HEAD + b".\r\n",
    "998 octets": HEAD + (b"x" * 998 + b"\r\n") * 3 + b"." * 998 + b"\r\n" + b"\r\n",
    "utf-8": HEAD + "Grüße, дом, 信\r\n".encode(),
    "eight bits": HEAD + bytes(range(128, 256)) + b"\r\n",
    "blanks": HEAD + b" \r\n\t\r\n\r\n\r\nx  \t\r\n\r\n",
    "controls": HEAD + bytes(octet for octet in range(1, 128) if octet not in b"\r\n") + b"\r\n",
    "empty body": HEAD,
    "a header alone": HEAD[:-2],
    "no header": b"\r\nThis is the body.\r\n",
    "neither date nor id": b"From: a@sender.test\r\nSubject: x\r\n\r\nbody\r\n",
    "fields in lower case": b"from: a@sender.test\r\nmessage-id: <x@y.test>\r\ndate: today\r\n\r\nbody\r\n",
    "a backslash and n": HEAD + b"\\n %DATE% {} \\r\\n\r\n",
    "200 KB": HEAD + b"".join(b"line %d\r\n.\r\n" % number for number in range(15_000)),
    "NUL": HEAD + b"a\0b\r\n",
    "a line of 70 KB": HEAD + b"x" * 70_000 + b"\r\n",
}
FAR_SIZE = 1 << 20  # octets that aiosmtpd takes
REFUSED = {"NUL": 550, "a line of 70 KB": 554}
TRACE = ["Received"]
FULL_TRACE = ["Received", "Date", "Message-ID"]

# What each sample gets in front, or the code by which it is refused.
OVER_SMTP: dict[str, list[str] | int] = {
    **dict.fromkeys(SAMPLES, TRACE),
    **dict.fromkeys(("no header", "neither date nor id"), FULL_TRACE),
    **REFUSED,
}
# There is no trace field over HTTP (api.md 2): only what is missing. The text is JSON, so UTF-8; a message must have a
# header with one From address; NUL is refused.
OVER_HTTP: dict[str, list[str] | int] = {
    **{name: [] for name in SAMPLES},
    "neither date nor id": ["Date", "Message-ID"],
    "eight bits": 400,
    "no header": 422,
    "NUL": 422,
    "a line of 70 KB": 422,
}
EXPECTED: dict[Client, dict[str, list[str] | int]] = {
    clients.swaks: OVER_SMTP,
    clients.smtp_lib: OVER_SMTP,
    clients.bdat: OVER_SMTP,
    clients.curl_smtp: OVER_SMTP,
    clients.postroad_send: OVER_SMTP,
    clients.http_lib: OVER_HTTP,
    clients.curl_http: OVER_HTTP,
}


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("sink")
    with SmtpSink(folder / "arrived") as far, playing("smtp-sink", folder / "server", far) as scene:
        yield scene


@pytest.fixture(scope="module")
def aiosmtpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Aiosmtpd(max_size=FAR_SIZE) as far, playing("aiosmtpd", tmp_path_factory.mktemp("aiosmtpd"), far) as scene:
        yield scene


@pytest.fixture(params=["sink", "aiosmtpd"])
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.getfixturevalue(request.param)
    return found


# A process of Python for each message is slow; one far end is enough for it.
PAIRS = [(far, client) for far in ("sink", "aiosmtpd") for client in EXPECTED]
PAIRS.remove(("aiosmtpd", clients.postroad_send))


@pytest.mark.parametrize(
    ("scene", "client"), PAIRS, indirect=["scene"], ids=lambda part: getattr(part, "__name__", part)
)
def test_octets_arrive_as_they_were_sent(scene: Scene, client: Client) -> None:
    sent: dict[str, str] = {}
    found: dict[str, list[str] | int] = {}
    for name, content in SAMPLES.items():
        recipient = scene.address()
        said = client(scene.server, "a@sender.test", recipient, content)
        if said.code in (200, 250):
            sent[name] = recipient
        else:
            found[name] = said.code
    arrived = scene.arrived()
    for name, recipient in sent.items():
        found[name] = added(arrived[recipient].content, SAMPLES[name])
    assert found == EXPECTED[client]


def test_smtp_source(scene: Scene) -> None:
    for name in ("dots", "998 octets", "eight bits", "200 KB"):
        recipient = scene.address()
        said = clients.smtp_source(scene.server, "a@sender.test", recipient, SAMPLES[name])
        assert said == Said(250, "")
        # It puts an empty line behind the file.
        assert added(scene.arrived()[recipient].content, SAMPLES[name] + b"\r\n") == TRACE


def test_many_messages_over_many_sessions(scene: Scene) -> None:
    target = f"127.0.0.1:{scene.server.smtp_port}"
    command = ["/usr/sbin/smtp-source", "-s", "10", "-m", "200", "-l", "10240", "-N", "-t", scene.address(), target]
    before = len(scene.far.arrived())
    assert subprocess.run(command, capture_output=True, timeout=60, check=True).stderr == b""
    until(scene.server.quiet, "the queue is empty")
    contents = [one.content for one in scene.far.arrived()]
    assert len(contents) == before + 200


def test_pipelined_by_swaks(scene: Scene) -> None:
    recipients = [scene.address() for _ in range(3)]
    command = ["swaks", "--pipeline", "--server", f"127.0.0.1:{scene.server.smtp_port}", "--from", "a@sender.test"]
    done = subprocess.run(
        [*command, "--to", ",".join(recipients), "--hide-send"], capture_output=True, text=True, timeout=60, check=True
    )
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("<-")][-7:] == [
        *("250", "250", "250", "250", "354", "250", "221")
    ], done.stdout
    assert scene.arrived().keys() >= set(recipients)


def test_the_whole_session_in_one_write(scene: Scene) -> None:
    """Even what RFC 2920 forbids, commands behind the content, is answered in order."""
    first, second = scene.address(), scene.address()
    one = b"".join(
        b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<%s>\r\nDATA\r\n%s\r\n" % (recipient.encode(), clients.dotted(content))
        for recipient, content in ((first, SAMPLES["dots"]), (second, SAMPLES["eight bits"]))
    )
    with socket.create_connection(("127.0.0.1", scene.server.smtp_port), 30) as sock:
        sock.sendall(b"EHLO client.test\r\n" + one + b"QUIT\r\n")
        with sock.makefile("rb") as stream:
            codes = [int(line[:3]) for line in stream if line[3:4] == b" "]
    assert codes == [220, 250, *(250, 250, 354, 250) * 2, 221]
    arrived = scene.arrived()
    assert added(arrived[first].content, SAMPLES["dots"]) == TRACE
    assert added(arrived[second].content, SAMPLES["eight bits"]) == TRACE


def test_a_thousand_recipients(scene: Scene) -> None:
    """One transaction; each gets a copy of its own that does not name the others. The next one is told to wait."""
    recipients = [scene.address() for _ in range(1001)]
    with scene.smtp() as client:
        refused = client.sendmail("a@sender.test", recipients, SAMPLES["dots"])
    assert refused == {recipients[1000]: (452, b"4.5.3 Too many recipients")}
    arrived = scene.arrived()
    assert recipients[1000] not in arrived
    for recipient in recipients[:1000]:
        assert added(arrived[recipient].content, SAMPLES["dots"]) == TRACE
        assert b"@far.test" not in arrived[recipient].content[: -len(SAMPLES["dots"])]


def test_no_line_end_at_the_end(scene: Scene) -> None:
    """By BDAT a message can end without one. DATA, by which it goes on, can't say that, so it gets one."""
    recipient = scene.address()
    assert clients.bdat(scene.server, "a@sender.test", recipient, HEAD + b"the end").code == 250
    assert added(scene.arrived()[recipient].content, HEAD + b"the end\r\n") == TRACE


def test_empty_messages(scene: Scene) -> None:
    """A dot behind the DATA command, a chunk of nothing, and the line that smtplib makes of nothing."""
    one, other, third = (scene.address() for _ in range(3))
    assert clients.bdat(scene.server, "a@sender.test", one, b"").code == 250
    assert clients.smtp_lib(scene.server, "a@sender.test", other, b"").code == 250
    with scene.smtp() as client:
        client.mail("a@sender.test")
        client.rcpt(third)
        assert client.docmd("DATA")[0] == 354
        assert client.docmd(".")[0] == 250
    arrived = scene.arrived()
    assert added(arrived[one].content, b"") == FULL_TRACE
    assert added(arrived[other].content, b"\r\n") == FULL_TRACE
    assert added(arrived[third].content, b"") == FULL_TRACE


def test_sizes(scene: Scene) -> None:
    """What SIZE announces holds for what is declared and for what comes, by DATA and by BDAT; one octet makes the
    difference."""
    limit = 10 << 10
    fits = _wrapped(limit)
    found = []
    recipient = scene.address()
    with scene.smtp(scene.small_port) as client:
        assert client.esmtp_features["size"] == str(limit)
        found.append(client.mail("a@sender.test", [f"SIZE={limit + 1}"])[0])
        for content in (fits + b".\r\n", fits):
            client.mail("a@sender.test", [f"SIZE={limit}"])
            client.rcpt(recipient)
            found.append(client.data(content)[0])
        client.mail("a@sender.test")
        client.rcpt(recipient)
        client.send(b"BDAT %d LAST\r\n%s" % (limit + 1, b"x" * (limit + 1)))
        found.append(client.getreply()[0])
    assert found == [552, 552, 250, 552]
    assert added(scene.arrived()[recipient].content, fits) == TRACE


def _wrapped(octets: int) -> bytes:
    """A message of this many octets, in lines of 100."""
    body = (b"x" * 98 + b"\r\n") * (octets // 100 + 1)
    return (HEAD + body)[: octets - 2] + b"\r\n"


def test_too_big_for_the_far_end(aiosmtpd: Scene) -> None:
    """It announces a SIZE, so the message is not even sent; its sender hears of it."""
    sender, recipient = aiosmtpd.address(), aiosmtpd.address()
    assert clients.smtp_lib(aiosmtpd.server, sender, recipient, _wrapped(FAR_SIZE)).code == 250
    assert recipient not in aiosmtpd.arrived()
    (notice,) = aiosmtpd.notified(sender)
    assert _reports(notice) == {"Final-Recipient": f"rfc822; {recipient}", "Action": "failed", "Status": "5.3.4"}


def _reports(notice: Message) -> dict[str, str]:
    """The fields about the one recipient of a delivery status notification."""
    (report,) = [part for part in notice.walk() if part.get_content_type() == "message/delivery-status"]
    about = list(report.walk())[-1]  # behind the part and the fields about the message
    return {name: str(about[name]) for name in ("Final-Recipient", "Action", "Status")}


# (sender, recipient, parameters, header) -> the reply to the first that is refused, or to the message.
INTERNATIONAL = {
    "all": ("ü@grün.test", "дом@пример.test", " SMTPUTF8 BODY=8BITMIME", "ü"),
    "domains alone": ("a@grün.test", "b@пример.test", " SMTPUTF8", "x"),
    "header alone": ("a@sender.test", "c@far.test", " SMTPUTF8 BODY=8BITMIME", "ü"),
    "header, not asked for": ("a@sender.test", "d@far.test", "", "ü"),
    "asked for, not needed": ("a@sender.test", "e@far.test", " SMTPUTF8", "x"),
    "sender, not asked for": ("ü@sender.test", "f@far.test", "", "x"),
    "recipient, not asked for": ("a@sender.test", "ü@far.test", "", "x"),
}
SAID = {
    **dict.fromkeys(INTERNATIONAL, 250),
    **dict.fromkeys(("sender, not asked for", "recipient, not asked for"), 553),
}
# (recipient, MAIL parameters without SIZE) at a host that has SMTPUTF8: what is ASCII after all goes as plain mail.
AT_UTF8 = {
    "all": ("дом@пример.test", "BODY=8BITMIME SMTPUTF8"),
    "domains alone": ("b@xn--e1afmkfd.test", ""),
    "header alone": ("c@far.test", "BODY=8BITMIME SMTPUTF8"),
    "header, not asked for": ("d@far.test", "BODY=8BITMIME"),
    "asked for, not needed": ("e@far.test", ""),
}
# At one without it.
AT_ASCII = {
    "domains alone": ("b@xn--e1afmkfd.test", ""),
    "header, not asked for": ("d@far.test", "BODY=8BITMIME"),
    "asked for, not needed": ("e@far.test", ""),
}


def test_international_mail(scene: Scene) -> None:
    said, sent = {}, {}
    for name, (sender, recipient, parameters, word) in INTERNATIONAL.items():
        content = (
            f"From: a@sender.test\r\nDate: x\r\nMessage-ID: <1@x.test>\r\nX-Name: {name}\r\nX-Word: {word}\r\n\r\n"
        )
        sent[name] = content.encode()
        with scene.smtp() as client:
            client.command_encoding = "utf-8"
            code, _ = client.docmd(f"MAIL FROM:<{sender}>{parameters}")
            if code == 250:
                code, _ = client.docmd(f"RCPT TO:<{recipient}>")
            if code == 250:
                code, _ = client.data(sent[name])
            said[name] = code
    assert said == SAID
    until(scene.server.quiet, "the queue is empty")
    found = {}
    for one in scene.far.arrived():
        for name, octets in sent.items():
            if one.sender and one.content.endswith(octets):
                assert added(one.content, octets) == TRACE
                words = one.mail.partition("> ")[2] if scene.name == "smtp-sink" else one.mail
                found[name] = one.recipients[0], " ".join(word for word in words.split() if word[:5] != "SIZE=")
    assert found == (AT_ASCII if scene.name == "smtp-sink" else AT_UTF8)


def test_dsn_parameters_are_handed_on(sink: Scene) -> None:
    """As they came, in xtext, to a host that offers DSN (RFC 3461 5.2.1)."""
    recipient, plain = sink.address(), sink.address()
    with sink.smtp() as client:
        client.mail("a@sender.test", ["RET=HDRS", "ENVID=my+20id+3D1"])
        client.rcpt(recipient, ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;who+2Bever@far.test"])
        client.rcpt(plain)
        assert client.data(SAMPLES["plain"])[0] == 250
    arrived = sink.arrived()
    assert _parameters(arrived[recipient].mail) == {"RET=HDRS", "ENVID=my+20id+3D1"}
    assert _parameters(arrived[recipient].rcpt[0]) == {"NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;who+2Bever@far.test"}
    assert _parameters(arrived[plain].mail) == {"RET=HDRS", "ENVID=my+20id+3D1"}
    assert _parameters(arrived[plain].rcpt[0]) == set()


def _parameters(argument: str) -> set[str]:
    return {word for word in argument.partition("> ")[2].split() if not word.startswith("SIZE=")}


def test_dsn_where_the_far_end_offers_none(aiosmtpd: Scene) -> None:
    """The parameters stay here, and who asked for a notice of success learns that the message went on without."""
    sender, recipient = aiosmtpd.address(), aiosmtpd.address()
    with aiosmtpd.smtp() as client:
        client.mail(sender, ["RET=HDRS", "ENVID=my+20id"])
        client.rcpt(recipient, ["NOTIFY=SUCCESS", "ORCPT=rfc822;who+2Bever@far.test"])
        assert client.data(SAMPLES["plain"])[0] == 250
    arrived = aiosmtpd.arrived()[recipient]
    assert {word.partition("=")[0] for word in arrived.mail.split()} == {"SIZE"}
    assert arrived.rcpt == ()
    (notice,) = aiosmtpd.notified(sender)
    assert _reports(notice) == {"Final-Recipient": f"rfc822; {recipient}", "Action": "relayed", "Status": "2.0.0"}
    text = notice.as_string()
    assert "Original-Envelope-Id: my id\n" in text
    assert "Original-Recipient: rfc822; who+ever@far.test\n" in text


# A transmission, and what a mail program shows of what arrived.
TRANSMISSION = {
    "return_path": "bounces@sender.test",
    "campaign_id": "octets",
    "content": {
        "from": {"name": "Größe, Inc.", "email": "a@sender.test"},
        "subject": "Grüße an дом — " + "lang " * 40,
        "reply_to": "Reply <reply@sender.test>",
        "headers": {"X-Number": "42", "X-Word": "信"},
        "text": ".\n..dots\n" + "x" * 2000 + "\nпривет\n",
        "html": "<p>.\n.dots &amp; ü\n</p>" + "<br>" * 500,
        "attachments": [{"name": "日本.bin", "type": "application/octet-stream", "data": "Lg0KLg0KAP+A"}],
    },
}


@pytest.mark.parametrize("client", ["http.client", "curl"])
def test_transmissions(scene: Scene, client: str) -> None:
    recipients = [scene.address() for _ in range(3)]
    named = {"address": {"email": recipients[0], "name": "Zoë Ö"}}
    body = json.dumps({**TRANSMISSION, "recipients": [named, *({"address": one} for one in recipients[1:])]}).encode()
    said = clients.post(scene.server, body) if client == "http.client" else clients.curl_post(scene.server, body)
    assert said.code == 200
    assert json.loads(said.text)["results"].keys() == {"total_rejected_recipients", "total_accepted_recipients", "id"}
    arrived = scene.arrived()
    wanted = TRANSMISSION["content"]
    assert isinstance(wanted, dict)
    for recipient in recipients:
        one = arrived[recipient]
        assert one.sender == "bounces@sender.test"
        assert max(map(len, one.content.split(b"\r\n"))) <= 998
        mail = message_from_bytes(one.content, policy=default)
        assert [part.defects for part in mail.walk()] == [[]] * 5
        assert mail["From"].addresses[0].display_name == "Größe, Inc."
        assert mail["Subject"] == wanted["subject"].strip()
        assert (mail["X-Number"], mail["X-Word"], mail["Reply-To"]) == ("42", "信", "Reply <reply@sender.test>")
        assert mail["To"].addresses[0].addr_spec == recipient
        assert mail["To"].addresses[0].display_name == ("Zoë Ö" if recipient == recipients[0] else "")
        assert mail["Date"] and mail["Message-ID"]
        text, html, file = (part for part in mail.walk() if not part.is_multipart())
        assert _lines(text) == wanted["text"]
        assert _lines(html).rstrip("\n") == wanted["html"]
        assert (file.get_filename(), file.get_content()) == ("日本.bin", b".\r\n.\r\n\0\xff\x80")


def _lines(part: Message) -> str:
    """The text, its lines ended by LF."""
    assert isinstance(part, EmailMessage)
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def test_postroad_send(sink: Scene) -> None:
    """The mail it makes itself; a refusal of the server is told, with exit code 1."""
    recipients = [sink.address(), sink.address()]
    config = ("--config", str(sink.server.config))
    done = sink.server.command("send", *recipients, "-f", "a@sender.test", "-s", "Grüße", "-t", ".\nпривет\n", *config)
    assert (done.returncode, done.stdout[:13], done.stderr) == (0, "250 2.0.0 Ok:", "")
    arrived = sink.arrived()
    for recipient in recipients:
        mail = message_from_bytes(arrived[recipient].content, policy=default)
        assert (mail["Subject"], mail["To"], _lines(mail)) == ("Grüße", ", ".join(recipients), ".\nпривет\n")
    small = ("--server", f"127.0.0.1:{sink.small_port}")
    done = sink.server.command("send", sink.address(), "-f", "<>", "-t", "line\n" * 3000, *small)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "552 5.3.4 The message is too big\n")
