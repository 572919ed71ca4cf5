"""The names a template sees, one flat namespace for each recipient (api.md 4.4)."""

from __future__ import annotations

from collections.abc import Mapping

from postroad.generate.template.syntax import DYNAMIC

JsonObject = Mapping[str, object]


def namespace(
    *,
    metadata: JsonObject,
    substitution_data: JsonObject,
    recipient_metadata: JsonObject,
    recipient_substitution_data: JsonObject,
    email: str,
    name: str,
    env_from: str,
) -> dict[str, object]:
    """Later arguments win over earlier ones, by whole values; what the platform knows wins over all.

    Dynamic content, which is executed, is taken from the transmission's substitution data only.
    """
    found = {**metadata, **substitution_data, **recipient_metadata, **recipient_substitution_data}
    for key in DYNAMIC:
        found.pop(key, None)
        if key in substitution_data:
            found[key] = substitution_data[key]
    own = found.get("address")
    address = dict(own) if isinstance(own, dict) else {}
    address["email"] = email
    address["name"] = name or None
    found.update(address=address, email=email, email_id=email, env_from=env_from, return_path=env_from)
    return found
