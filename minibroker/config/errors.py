"""What is wrong with a setting, in one line."""


class ConfigError(ValueError):
    """A setting that is unknown, ill-typed or out of range. Its text is one line: what was expected, what was found."""
