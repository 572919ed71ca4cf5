"""Postroad: a high-volume e-mail platform. The packages stand in the order in which a message meets them."""

__version__ = "0.1.0"
