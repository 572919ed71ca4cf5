"""Django's mail through anymail's SparkPost backend: python calls_anymail.py API_URL KEY RECIPIENT"""

import json
import sys

import django
from django.conf import settings


def main(url: str, key: str, recipient: str) -> None:
    settings.configure(
        EMAIL_BACKEND="anymail.backends.sparkpost.EmailBackend",
        ANYMAIL={"SPARKPOST_API_KEY": key, "SPARKPOST_API_URL": url},
        USE_TZ=True,
    )
    django.setup()
    from anymail.exceptions import AnymailAPIError
    from anymail.message import AnymailMessage

    told = {}

    def unknown():
        message = AnymailMessage(to=[recipient], from_email=None)
        message.template_id = "there-is-none"
        return message

    def send(name, message):
        try:
            message.send()
            told[name] = {
                "id": message.anymail_status.message_id,
                "status": sorted(message.anymail_status.status or ()),
            }
        except AnymailAPIError as error:
            told[name] = {"raised": str(error)}

    message = AnymailMessage(
        "Plain and html",
        "text body",
        '"Sender, of Django" <sender@example.com>',
        [f"Ann <{recipient}>", f"bob-{recipient}"],
        cc=[f"cc-{recipient}"],
        bcc=[f"bcc-{recipient}"],
        reply_to=["replies@example.com"],
        headers={"X-Own": "yes"},
        metadata={"order": 7},
        tags=["spring"],
        track_opens=False,
        track_clicks=False,
    )
    message.attach_alternative("<p>html body</p>", "text/html")
    message.attach("note.txt", "attached text", "text/plain")
    send("plain", message)

    send(
        "batch",
        AnymailMessage(
            "Hello {{name}}",
            "Order {{order}}",
            "sender@example.com",
            [f"a-{recipient}", f"b-{recipient}"],
            merge_data={f"a-{recipient}": {"name": "A"}, f"b-{recipient}": {"name": "B"}},
            merge_global_data={"order": "none"},
            merge_metadata={f"a-{recipient}": {"n": 1}, f"b-{recipient}": {"n": 2}},
        ),
    )
    send("bcc alone", AnymailMessage("Hidden", "text", "sender@example.com", bcc=[f"hidden-{recipient}"]))
    image = AnymailMessage("Image", "text", "sender@example.com", [f"image-{recipient}"], headers={"X-Order": "5"})
    cid = image.attach_inline_image(b"\x89PNG\r\n\x1a\n", filename="dot.png", subtype="png")
    image.attach_alternative(f'<img src="cid:{cid}">', "text/html")
    image.envelope_sender = "returns@example.com"
    send("image", image)
    send(
        "headers",
        AnymailMessage(
            "Batch",
            "text",
            "sender@example.com",
            [f"h1-{recipient}", f"h2-{recipient}"],
            headers={"X-All": "all"},
            merge_data={},
            merge_headers={f"h1-{recipient}": {"X-Some": "one"}, f"h2-{recipient}": {}},
        ),
    )
    template = AnymailMessage(to=[f"template-{recipient}"], from_email=None)
    template.template_id = "anymail-greeting"
    template.merge_global_data = {"name": "Carl"}
    send("template", template)
    send("template of none", unknown())
    settings.ANYMAIL["SPARKPOST_API_KEY"] = "0" * 40
    send("with another key", AnymailMessage("x", "x", "sender@example.com", [recipient]))
    print(json.dumps(told))


main(*sys.argv[1:])
