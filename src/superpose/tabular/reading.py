"""Tables in files, and errors that say what to do about them."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

MISSING_MARKS = ["?"]
"""What stands for a missing value in a CSV file, besides what pandas takes for one ("", NA, NaN, null, ...)."""


class InputError(Exception):
    """Something about the input that the user can put right; the message is one or two sentences for them."""


def read_table(path: str, text: Collection[str] = ()) -> Any:
    """The table in a CSV or Parquet file, as a pandas data frame with strings as column names.

    Args:
        path: The file. What is in it decides, not its name; CSV may use commas, semicolons or tabs.
        text: Columns to read as text, even if all their values look like numbers.

    Raises:
        InputError: If there is no such file, or no table with rows in it.
    """
    return _read(path, na_values=MISSING_MARKS, dtype={name: "str" for name in text}, low_memory=False)[0]


def read_cells(path: str) -> tuple[Any, str, str]:
    """The table in a file as it stands there, to be written again: a CSV's cells as text, its separator and decimal mark.

    Raises:
        InputError: If there is no such file, or no table with rows in it.
    """
    return _read(path, dtype="str", na_filter=False)


def _read(path: str, **how: Any) -> tuple[Any, str, str]:
    """The table in a file, with a CSV read in some way, and the separator and the decimal mark of a CSV."""
    import pandas as pd

    start, separator, decimal = _start(Path(path)), ",", "."
    try:
        if start.startswith(b"PAR1"):
            frame = pd.read_parquet(path)
        else:
            separator, decimal = _dialect(start.decode("utf-8-sig", errors="ignore"))
            frame = pd.read_csv(
                path, sep=separator, decimal=decimal, encoding="utf-8-sig", skipinitialspace=True, **how
            )
    except UnicodeDecodeError:
        raise InputError(f"{path} is neither Parquet nor text in UTF-8; save the table as CSV in UTF-8.") from None
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        reason = str(error).strip().partition("\n")[0].rpartition("C error: ")[2].rstrip(".") or type(error).__name__
        raise InputError(f"{path} cannot be read as a table: {reason}.") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.empty:
        raise InputError(f"{path} has a header but no rows below it.")
    return frame, separator, decimal


def require_columns(frame: Any, names: Iterable[str], what: str) -> None:
    """Raise an `InputError` with near names if the table lacks one of `names`; `what` says who wants it."""
    missing = [name for name in names if name not in frame.columns]
    if not missing:
        return
    hints = [f"{name!r}{f' ({close})' if (close := near(name, frame.columns)) else ''}" for name in missing[:4]]
    more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    there = "" if any("(" in hint for hint in hints) else f" The table has {shorten(frame.columns)}."
    which = "a column that the table lacks" if len(missing) == 1 else f"{len(missing)} columns that the table lacks"
    raise InputError(f"{what} {which}: {', '.join(hints)}{more}.{there}")


def near(name: str, known: Iterable[str]) -> str:
    """A hint at what `name` may have been meant to be, or nothing."""
    lowered = {other.lower(): other for other in reversed(list(known))}
    close = [lowered[other] for other in get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""


def shorten(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    listed = ", ".join(map(repr, names[:most]))
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _start(path: Path) -> bytes:
    """The first bytes of a file that may hold a table."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a CSV or Parquet file.")
    if not path.is_file():
        here = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        close = get_close_matches(path.name, here, n=1)
        raise InputError(f"there is no file {path}{f'; did you mean {path.with_name(close[0])}?' if close else '.'}")
    try:
        with path.open("rb") as file:
            start = file.read(65536)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not start.strip():
        raise InputError(f"{path} is empty.")
    if start[:2] == b"PK":
        raise InputError(f"{path} looks like a spreadsheet or archive; export the table as CSV.")
    if b"\0" in start and not start.startswith(b"PAR1"):
        raise InputError(f"{path} is neither Parquet nor text; export the table as CSV.")
    return start


def _dialect(start: str) -> tuple[str, str]:
    """The likeliest separator, by the first line, and the decimal mark, which is a comma in some semicolon files."""
    header, _, rows = start.lstrip().partition("\n")
    separator = max(",;\t", key=header.count)
    comma = separator != "," and re.search(rf"(^|{separator})-?\d+,\d+\s*({separator}|$)", rows, re.MULTILINE)
    return separator, "," if comma else "."
