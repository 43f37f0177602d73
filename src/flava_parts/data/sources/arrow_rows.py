"""Rows of Arrow tables, as Parquet files and Hugging Face's datasets have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .caption_rule import CaptionRule, UnusableError
from .folder import picture_in
from .record import Record

UNREADABLE = (OSError, ValueError, OverflowError)
"""What damaged content raises: pyarrow's own errors, texts that are no UTF-8, and dates that no calendar has."""


def row_at(table: Any, place: int) -> dict[str, Any]:
    """A row of an Arrow table. Raises UnusableError: ``bad-utf-8``, ``damaged``."""
    return {name: _value(name, cells[place]) for name, cells in zip(table.column_names, table.columns, strict=True)}


def _value(column: str, cell: Any) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        raise UnusableError(f"{column}: is not UTF-8", "bad-utf-8") from None
    except UNREADABLE as error:
        raise UnusableError(f"{column}: cannot be read ({error})", "damaged") from None


def rows_of(table: Any) -> list[dict[str, Any] | None]:
    """All rows of an Arrow table in order; None for one that cannot be read."""
    try:
        return table.to_pylist()
    except UNREADABLE:
        return [_row_or_none(table, place) for place in range(len(table))]


def _row_or_none(table: Any, place: int) -> dict[str, Any] | None:
    try:
        return row_at(table, place)
    except UnusableError:
        return None


def wanted_rows(rows: Iterable[Mapping[str, Any] | None], rule: CaptionRule) -> NDArray[np.int64]:
    """The numbers of the rows that a rule wants, as `rows_of` gives them; bad rows are among them."""
    return np.fromiter((number for number, row in enumerate(rows) if _wants(rule, row)), dtype=np.int64)


def _wants(rule: CaptionRule, row: Mapping[str, Any] | None) -> bool:
    if row is None:
        return True
    try:
        rule.captions(row)
    except UnusableError as error:
        return error.reason not in ("filtered", "few-words")
    return True


def record_of(key: str, row: Mapping[str, Any], picture: str | None, folder: str | None, rule: CaptionRule) -> Record:
    """The record of a row. Raises UnusableError."""
    captions = rule.captions(row)
    return Record(
        key,
        None if picture is None else _picture(row.get(picture), picture, folder),
        captions if rule.columns else None,
    )


def lengths_of(row: Mapping[str, Any] | None, rule: CaptionRule) -> Sequence[int]:
    """How many characters each caption of a row has, as `rows_of` gives it; none if it cannot be used."""
    if row is None:
        return ()
    try:
        return list(map(len, rule.captions(row)))
    except UnusableError:
        return ()


def _picture(cell: Any, column: str, folder: str | None) -> bytes:
    """The content of a picture's file: in the cell, in the ``bytes`` of it, or below the folder."""
    if isinstance(cell, dict):
        block = cast(dict[str, Any], cell)
        cell = block.get("bytes") if block.get("bytes") is not None else block.get("path")
    if isinstance(cell, str) and folder is not None:
        return picture_in(folder, cell)
    if not isinstance(cell, bytes):
        what = f"is the name {cell!r}, and no folder is given" if isinstance(cell, str) else "holds no picture"
        raise UnusableError(f"{column}: {what}", "missing-picture")
    return cell
