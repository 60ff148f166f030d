"""Why a broker does not start, or stops."""


class StartError(Exception):
    """The broker cannot start; the message is one line for the operator. Programs exit with status 2."""
