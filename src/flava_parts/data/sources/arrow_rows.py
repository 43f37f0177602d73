"""Rows of Arrow tables, as Parquet files and Hugging Face's datasets have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .caption_rule import CaptionRule, UnusableError
from .folder import picture_in
from .record import Record


def wanted_rows(batches: Iterable[Any], rule: CaptionRule) -> NDArray[np.int64]:
    """The numbers of the rows that a rule wants, of Arrow batches with its columns; bad rows are among them."""
    kept: list[NDArray[np.int64]] = []
    at = 0
    for batch in batches:
        rows: list[Mapping[str, Any]] = batch.to_pylist()
        kept.append(np.array([at + number for number, row in enumerate(rows) if _wants(rule, row)], dtype=np.int64))
        at += len(rows)
    return np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)


def _wants(rule: CaptionRule, row: Mapping[str, Any]) -> bool:
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


def lengths_of(row: Mapping[str, Any], rule: CaptionRule) -> Sequence[int]:
    """How many characters each caption of a row has; none if it cannot be used."""
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
