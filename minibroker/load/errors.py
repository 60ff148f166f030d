"""What can go wrong with a load; each makes its figures worthless."""


class LoadError(Exception):
    """The broker refused, lost or delayed something, or cannot be reached: there is no figure."""
