"""What a device's client raises besides bad input: the cloud is out of reach, or an input may not be released again."""

from __future__ import annotations

from ...records import CollabplanError


class UnreachableError(CollabplanError):
    """The cloud gave no answer. `retry` is False if sending the request again cannot help."""

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


class ReleaseError(CollabplanError):
    """An input was released as often as the policy allows, or the store that knows cannot be used. Nothing was sent."""
