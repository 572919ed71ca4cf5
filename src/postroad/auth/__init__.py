"""Ground: keys and mail authentication."""

from postroad.auth.keys import ApiKeys, AuthFailure, Key, new_key

__all__ = ["ApiKeys", "AuthFailure", "Key", "new_key"]
