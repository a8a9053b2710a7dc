"""What a message must say, whatever its words."""

import re


def naming(*names: object) -> str:
    """Pattern of a message in which each of these names and numbers occurs as a whole, in any order.

    >>> bool(re.search(naming("P0", 1), "1 cell of 'P0'")), bool(re.search(naming(1), "11 cells, 0.1 of them"))
    (True, False)
    """
    return "(?s)" + "".join(f"(?=.*{_whole(str(name))})" for name in names)


def _whole(name: str) -> str:
    """Pattern of a name that is no part of a longer name or number."""
    before = r"(?<![\w.,])" if name[:1].isdigit() else r"(?<!\w)" if name[:1].isalpha() else ""
    after = r"(?![\w]|[.,]\d)" if name[-1:].isdigit() else r"(?!\w)" if name[-1:].isalpha() else ""
    return before + re.escape(name) + after
