"""Django's mail through python-sparkpost's own backend: python calls_sparkpost_django.py HOST:PORT KEY RECIPIENT"""

import json
import sys

import django
from django.conf import settings


def main(host: str, key: str, recipient: str) -> None:
    settings.configure(
        EMAIL_BACKEND="sparkpost.django.email_backend.SparkPostEmailBackend",
        SPARKPOST_API_KEY=key,
        SPARKPOST_BASE_URI=host,
        SPARKPOST_OPTIONS={"track_opens": False, "track_clicks": False},
        USE_TZ=True,
    )
    django.setup()
    from django.core.mail import EmailMultiAlternatives

    message = EmailMultiAlternatives(
        "Hello {{name}}",
        "text for {{name}}",
        "Sender <sender@example.com>",
        [f"Ann <{recipient}>"],
        bcc=[f"bcc-{recipient}"],
        cc=[f"Carl <cc-{recipient}>"],
        reply_to=["replies@example.com", "others@example.com"],
        headers={"X-MSYS-API": '{"options": {"transactional": true}}', "X-Own": "yes"},
    )
    message.attach_alternative("<p>html for {{name}}</p>", "text/html")
    message.attach("note.txt", "attached", "text/plain")
    message.substitution_data = {"name": "Ann"}
    message.campaign = "django"
    print(json.dumps({"sent": message.send()}))


main(*sys.argv[1:])
