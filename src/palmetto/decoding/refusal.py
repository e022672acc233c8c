"""The error of what the engine cannot do, which each command and server reports with names of its own."""

from palmetto.errors import UserError


class Refused(UserError):
    """Raised for a request that can never be served, and for limits that cannot be.

    `field` names the invalid field, as `Request`, `Sampling` and `Limits` do.
    """

    def __init__(self, field: str, reason: str, value: object = "") -> None:
        shown = f"{field}={value}" if value != "" else field
        super().__init__(f"{shown}: {reason}")
        self.field, self.reason = field, reason
