"""What can go wrong that is not a bug. A message says what, what it got, what it wanted, and what to do."""


class PlauditError(Exception):
    """Anything a user can mend; the command line prints it as one line."""


class BadConfig(PlauditError):
    """A setting or an input that cannot work."""


class UnknownName(PlauditError):
    """A name that no table holds."""


class MissingExtra(PlauditError):
    """A package that an optional part needs is not installed."""


class BrokenContract(PlauditError):
    """A reward or generator does not keep what its protocol promises."""
