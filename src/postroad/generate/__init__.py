"""2 Generate: build messages from content and recipients."""

from postroad.generate.css import inline_css
from postroad.generate.draft import Draft, draft, read_sender
from postroad.generate.filling import Filling, Letter, Snippets
from postroad.generate.headers import BuildError, HeaderError
from postroad.generate.mime import Attachment, BuildErrors, Content, PartError
from postroad.generate.people import Person, parse_people, person_text, to_field
from postroad.generate.raw import Raw
from postroad.generate.tracking import Site, Trackers, Wishes, carried, trackers

__all__ = [
    "Attachment",
    "BuildError",
    "BuildErrors",
    "Content",
    "Draft",
    "Filling",
    "HeaderError",
    "Letter",
    "PartError",
    "Person",
    "Raw",
    "Site",
    "Snippets",
    "Trackers",
    "Wishes",
    "carried",
    "draft",
    "inline_css",
    "parse_people",
    "person_text",
    "read_sender",
    "to_field",
    "trackers",
]
