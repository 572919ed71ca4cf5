"""What the HTTP API answers when it refuses: one table of codes, one envelope (api.md 1.5 to 1.7)."""

from __future__ import annotations

from enum import Enum
from typing import Any

from msgspec import Struct


class Code(Enum):
    """value: (code in the reply, HTTP status, message). A code of "" is left out of the reply."""

    UNAUTHORIZED = ("", 401, "Unauthorized")
    FORBIDDEN = ("1100", 403, "Forbidden.")
    TOO_MANY_REQUESTS = ("", 429, "Too many requests")
    TOO_LARGE = ("", 413, "payload too large")
    URI_TOO_LONG = ("", 414, "URI too long")
    BAD_REQUEST = ("", 400, "bad request")
    SERVER_FAULT = ("", 500, "internal server error")

    PERMISSION_DENIED = ("1100", 400, "permission denied")
    INVALID_URI = ("1101", 404, "invalid uri")
    INVALID_METHOD = ("1102", 405, "invalid HTTP method")
    INVALID_PARAMS = ("1200", 400, "invalid params")
    INVALID_FORMAT = ("1300", 422, "invalid data format/type")
    INVALID_COMBINATION = ("1301", 422, "invalid combination of fields")
    NOT_UTF8 = ("1305", 400, "input not UTF-8")
    MISSING_FIELD = ("1400", 422, "required field is missing")
    RESOURCES_UNAVAILABLE = ("1502", 503, "server resources unavailable, retry later")
    REMOTE_FAILED = ("1404", 400, "request to remote endpoint failed")
    NOT_FOUND = ("1600", 404, "resource not found")
    CONFLICT = ("1602", 409, "resource conflict")
    NO_SUBRESOURCE = ("1603", 422, "Subresource not found")
    UNSUPPORTED_TYPE = ("1700", 415, "unsupported content type")
    UNAVAILABLE = ("1900", 503, "message generation unavailable")
    FAILED = ("1901", 400, "Failed to generate message")
    REJECTED = ("1902", 400, "Message generation rejected")
    PARTLY_CREATED = ("2000", 200, "transmission created, but with validation errors")
    SUBSTITUTION_TOO_LARGE = ("2002", 422, "substitution data too large")
    TOO_LATE = ("2003", 409, "too close to generation time to delete transmission")
    NOT_DELETABLE = ("2006", 409, "transmission record in invalid state for deletion")
    NO_DRAFT = ("2004", 422, "no draft version of template")
    NO_PUBLISHED = ("2005", 422, "no published version of template")
    METADATA_TOO_LARGE = ("2007", 422, "metadata too large")
    NO_LOCAL_PART = ("2008", 400, "no local part in sender address")
    TEMPLATE_SYNTAX = ("3000", 422, "substitution language syntax error in template content")
    TEMPLATE_RENDER = ("3001", 422, "substitution language render error")
    INVALID_HEADER = ("3002", 422, "invalid header")
    MIME_CONSTRUCTION = ("3010", 422, "MIME construction error")
    MIME_PARSE = ("3020", 422, "MIME parse error")
    TEMPLATE_EXISTS = ("3030", 400, "template already exists")
    LIST_PARTLY_CREATED = ("5000", 200, "List created with validation errors")
    LIST_EXISTS = ("5001", 400, "List already exists")
    NO_RECIPIENT = ("5002", 400, "At least one valid recipient is required")
    INVALID_DOMAIN = ("7001", 400, "Invalid domain")
    DOMAIN_TAKEN = ("7004", 400, "Domain in use by another account")

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def status(self) -> int:
        return self.value[1]

    @property
    def message(self) -> str:
        return self.value[2]


class Fault(Struct, frozen=True, omit_defaults=True):
    """One entry of `errors`. part and line: where in a template, as generate.template names it, from 1."""

    message: str
    description: str = ""
    code: str = ""
    part: str = ""
    line: int = 0


def fault(code: Code, description: str = "") -> Fault:
    return Fault(code.message, description, code.code)


class Failure(Exception):
    """The request is refused with the status of `code`. faults: all that is wrong, the first of them `code`'s."""

    def __init__(
        self,
        code: Code,
        description: str = "",
        *,
        faults: list[Fault] | None = None,
        headers: dict[str, str] | None = None,
        results: dict[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.faults = [fault(code, description)] if faults is None else faults
        self.headers = headers or {}
        self.results = results
        super().__init__("; ".join(f"{each.message}: {each.description}" for each in self.faults))


class Faults:
    """Collects everything that is wrong with a request before it is refused."""

    def __init__(self) -> None:
        self._codes: list[Code] = []
        self._faults: list[Fault] = []

    def add(self, code: Code, description: str, *, part: str = "", line: int = 0) -> None:
        self._codes.append(code)
        self._faults.append(Fault(code.message, description, code.code, part, line))

    def __len__(self) -> int:
        return len(self._faults)

    def stop(self) -> None:
        """Raises Failure with all faults when there are any."""
        if self._faults:
            raise Failure(self._codes[0], faults=self._faults)
