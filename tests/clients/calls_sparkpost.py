"""Each call of python-sparkpost, as its users write them: python calls_sparkpost.py HOST:PORT KEY RECIPIENT

Prints a JSON object: the name of each call, and what it returned or raised."""

import json
import sys
from datetime import UTC, datetime, timedelta

from sparkpost import SparkPost
from sparkpost.exceptions import SparkPostAPIException


def main(host: str, key: str, recipient: str) -> None:
    sp = SparkPost(key, host)
    told = {}
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")

    def call(name, function, /, *args, **kwargs):
        try:
            told[name] = function(*args, **kwargs)
        except SparkPostAPIException as error:
            told[name] = {"raised": [error.status, error.errors]}
        return told[name]

    call(
        "transmissions.send",
        sp.transmissions.send,
        recipients=[recipient, {"address": {"email": f"second-{recipient}", "name": "Second"}, "tags": ["t"]}],
        cc=[f"cc-{recipient}"],
        html="<p>Hello {{name}}</p>",
        text="Hello {{name}}",
        from_email="Sender <sender@example.com>",
        subject="Hello {{name}}",
        substitution_data={"name": "world"},
        metadata={"order": 7},
        campaign="spring",
        track_opens=False,
        track_clicks=False,
        custom_headers={"X-Own": "yes"},
        attachments=[{"name": "a.txt", "type": "text/plain", "data": "aGVsbG8="}],
    )
    call(
        "templates.create",
        sp.templates.create,
        id="python-greeting",
        name="Greeting",
        from_email="sender@example.com",
        subject="Greetings {{name}}",
        text="Dear {{name}}",
        published=True,
    )
    call("templates.get", sp.templates.get, "python-greeting", False)
    call("templates.list", sp.templates.list)
    call("templates.preview", sp.templates.preview, "python-greeting", {"name": "Ann"}, False)
    call(
        "templates.update",
        sp.templates.update,
        "python-greeting",
        name="Greeting 2",
        from_email="sender@example.com",
        subject="Greetings again {{name}}",
        text="Dear {{name}}",
        published=True,
    )
    call(
        "recipient_lists.create",
        sp.recipient_lists.create,
        id="python-list",
        name="List",
        recipients=[
            {"address": {"email": f"list-{recipient}"}, "substitution_data": {"name": "Bob"}},
            {"address": {"email": f"listed-{recipient}"}, "substitution_data": {"name": "Eve"}},
        ],
    )
    call("recipient_lists.update", sp.recipient_lists.update, "python-list", name="List 2")
    call("recipient_lists.get", sp.recipient_lists.get, "python-list", True)
    call("recipient_lists.list", sp.recipient_lists.list)
    call(
        "transmissions.send template and list",
        sp.transmissions.send,
        recipient_list="python-list",
        template="python-greeting",
        track_opens=False,
        track_clicks=False,
    )
    call(
        "suppression_list.create",
        sp.suppression_list.create,
        {"email": f"gone-{recipient}", "transactional": True, "non_transactional": True, "description": "asked"},
    )
    call(
        "suppression_list.update",
        sp.suppression_list.update,
        [
            {"email": f"left-{recipient}", "transactional": False, "non_transactional": True, "description": "left"},
            {"email": f"plus+{recipient}", "transactional": True, "non_transactional": False, "description": "left"},
        ],
    )
    call("suppression_list.get", sp.suppression_list.get, f"gone-{recipient}")
    call("suppression_list.get plus", sp.suppression_list.get, f"plus+{recipient}")
    call("suppression_list.list", sp.suppression_list.list, limit=5)
    call("suppression_list.list types", sp.suppression_list.list, types=["transactional", "non_transactional"])
    call(
        "transmissions.send to one who left",
        sp.transmissions.send,
        recipients=[f"left-{recipient}"],
        text="x",
        from_email="sender@example.com",
        subject="x",
    )
    call("suppression_list.delete", sp.suppression_list.delete, f"gone-{recipient}")
    later = call(
        "transmissions.send later",
        sp.transmissions.send,
        recipients=[f"later-{recipient}"],
        text="x",
        from_email="sender@example.com",
        subject="later",
        start_time=tomorrow,
        campaign="later",
    )
    call("transmissions.list", sp.transmissions.list, campaign_id="later")
    if "id" in later:
        call("transmissions.get", sp.transmissions.get, later["id"])
        call("transmissions.delete", sp.transmissions.delete, later["id"])
    call("recipient_lists.delete", sp.recipient_lists.delete, "python-list")
    call("templates.delete", sp.templates.delete, "python-greeting")
    call("templates.get of none", sp.templates.get, "python-greeting", False)
    call(
        "transmissions.send email_rfc822",
        sp.transmissions.send,
        recipients=[f"raw-{recipient}"],
        email_rfc822=f"From: sender@example.com\nTo: raw-{recipient}\nSubject: Raw {{{{name}}}}\n\nas it is\n",
        substitution_data={"name": "mail"},
        track_opens=False,
        track_clicks=False,
    )
    call(
        "transmissions.send without content",
        sp.transmissions.send,
        recipients=[recipient],
        from_email="sender@example.com",
        subject="x",
    )
    call(
        "transmissions.send to nobody",
        sp.transmissions.send,
        recipients=[],
        text="x",
        subject="x",
        from_email="a@b.test",
    )
    told["with another key"] = {}
    try:
        SparkPost("0" * 40, host).templates.list()
    except SparkPostAPIException as error:
        told["with another key"] = {"raised": [error.status, error.errors]}
    print(json.dumps(told, default=str))


main(*sys.argv[1:])
