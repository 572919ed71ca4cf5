"""2 Generate: build messages from content and recipients."""

from postroad.generate.headers import BuildError, HeaderError
from postroad.generate.mime import Attachment, BuildErrors, Content, Draft, PartError, draft
from postroad.generate.people import Person, parse_people, person_text, to_field

__all__ = [
    "Attachment",
    "BuildError",
    "BuildErrors",
    "Content",
    "Draft",
    "HeaderError",
    "PartError",
    "Person",
    "draft",
    "parse_people",
    "person_text",
    "to_field",
]
