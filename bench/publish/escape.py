"""Text from a record -> text that cannot break a table, a page or a terminal. Records may come from strangers."""

import re
from urllib.parse import quote

MOST_CHARACTERS = 300  # a stack trace in a reason would bury the table; the record has the whole


def plain(text: str, most: int = MOST_CHARACTERS) -> str:
    """One line of printable characters: no line breaks, escape sequences or marks of direction."""
    printable = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(printable.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def markdown(text: str, most: int = MOST_CHARACTERS) -> str:
    """`plain`, and no character with a meaning in Markdown or HTML keeps it."""
    line = plain(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def code(text: str) -> str:
    """A command between backticks, which is to be pasted: what would end it or the table's cell is left out."""
    return "`" + plain(text, 10 * MOST_CHARACTERS).replace("`", "").replace("|", "") + "`"


def url(path: str) -> str:
    """A relative path as the target of a link."""
    return quote(path, safe="/._-")
