"""The members of a tar file and where each lies; nothing is ever unpacked.

Our own reading of the headers, since the standard library's keeps an object for each member and, before Python 3.13.6,
follows a negative size around in a circle. Known are the ustar, GNU and pax forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ...errors import InputError

BLOCK = 512
"""Headers are one block, and contents are filled up to whole blocks."""
MAX_NAME = 65_536
"""Bytes of a long name, or of the pax records of one member."""
MAX_MEMBER = 2**32 - 1
"""Bytes of a member; larger ones are refused."""

_MAGIC = slice(257, 262)
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_REFUSED = {b"1": "link", b"2": "link", b"3": "device", b"4": "device", b"6": "device", b"S": "sparse"}


class Member(NamedTuple):
    """One file in a tar file."""

    name: str
    offset: int
    """Where its content begins."""
    size: int
    refused: str | None = None
    """Why it is not used: ``link``, ``device``, ``sparse``, ``absolute-name``, ``parent-name`` or ``too-large``."""


def members_of(file: BinaryIO, path: str) -> Iterator[Member]:
    """The files in a tar file from its beginning, those that are refused among them; folders are passed over.

    Raises InputError, which begins with ``path``, if it is no tar file, is damaged or was cut off.
    """
    at, long_name, pax = 0, None, dict[str, str]()
    while True:
        header = _read(file, at, BLOCK, path)
        if not any(header):
            return
        size = content_size(header)
        if size is None:
            what = "is no tar file" if at == 0 else f"has no member's header at byte {at}, so it is damaged"
            raise InputError(f"{path}: {what}; write it anew")
        kind, content = header[156:157], at + BLOCK
        if kind in (b"L", b"K", b"x", b"g"):
            if size > MAX_NAME:
                raise InputError(f"{path}: has a name of {size:,} bytes at byte {at}, so it is damaged; write it anew")
            if kind == b"L":
                long_name = _text(_read(file, content, size, path).rstrip(b"\0"))
            elif kind == b"x":
                pax = _pax_records(_read(file, content, size, path))
            at = content + _blocks(size)
            continue
        name = pax.get("path") or long_name or _name(header)
        size = int(pax["size"]) if pax.get("size", "").isdecimal() else size
        if kind != b"5":
            sparse = any(record.startswith("GNU.sparse.") for record in pax)
            yield Member(name, content, size, "sparse" if sparse else _REFUSED.get(kind) or _wrong(name, size))
        at = content + (0 if kind in (b"1", b"2", b"3", b"4", b"5", b"6") else _blocks(size))
        long_name, pax = None, {}


def content_size(header: bytes) -> int | None:
    """The size that a member's header states; None if it is no header of one."""
    try:
        stated = int(header[_CHECKSUM].strip(b" \0") or b"-1", 8)
    except ValueError:
        return None
    total = sum(header) - sum(header[_CHECKSUM]) + 8 * 0x20
    return stated_size(header) if stated == total and len(header) == BLOCK else None


def stated_size(header: bytes) -> int | None:
    """The size that a header states, whatever else is in it; None if that is no number."""
    field = header[_SIZE]
    try:
        if field[0] == 0x80:  # GNU's way to write numbers that need it; 0xff would begin a negative one
            return int.from_bytes(field[1:], "big")
        size = int(field.strip(b" \0") or b"0", 8)
    except (ValueError, IndexError):
        return None
    return size if size >= 0 else None


def states(header: bytes, size: int) -> bool:
    """Whether a block is a header that states this size; its sum is left out, which takes longer than a picture."""
    return header[_MAGIC] == b"ustar" and (header[_SIZE] == b"%011o\0" % size or stated_size(header) == size)


def _read(file: BinaryIO, at: int, size: int, path: str) -> bytes:
    try:
        if file.tell() != at:
            file.seek(at)
        content = file.read(size)
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read at byte {at} ({error})") from error
    if len(content) < size:
        what = "is no tar file" if at == 0 else "was cut off: a tar file ends with empty blocks"
        raise InputError(f"{path}: {what}; write or download it anew")
    return content


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _pax_records(content: bytes) -> dict[str, str]:
    """``length key=value`` lines, each as long as it says; those that are not are left out with what follows."""
    found: dict[str, str] = {}
    while content:
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        line = content[len(digits) + 1 : length]
        key, equals, value = line.removesuffix(b"\n").partition(b"=")
        if not equals:
            break
        found[_text(key)] = _text(value)
        content = content[length:]
    return found


def _wrong(name: str, size: int) -> str | None:
    """What is wrong with a file's name or size."""
    if name.startswith("/"):
        return "absolute-name"
    if ".." in name.split("/"):
        return "parent-name"
    return "too-large" if size > MAX_MEMBER else None
