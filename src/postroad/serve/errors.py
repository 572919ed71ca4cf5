"""What can keep a server from starting."""


class StartError(Exception):
    """The server could not start. The message is fit for the user."""
