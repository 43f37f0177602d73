"""A sample that cannot be used, and why."""

from __future__ import annotations

from ...errors import InputError


class BadSampleError(InputError):
    """One sample of a source cannot be used; the others may be good.

    source: the source's name for messages, such as its folder or shard. key: the sample's key in it. reason: a few
    words of kebab-case that many samples can share, such as ``truncated`` or ``empty-caption``, so that they can be
    counted. message: the whole sentence.
    """

    def __init__(self, message: str, *, source: str, key: str, reason: str) -> None:
        super().__init__(message)
        self.source = source
        self.key = key
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_restored, (str(self), self.source, self.key, self.reason))


def _restored(message: str, source: str, key: str, reason: str) -> BadSampleError:
    return BadSampleError(message, source=source, key=key, reason=reason)
