"""Text from data and models, made harmless for a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Text without what a terminal would obey: control characters and marks of writing direction become visible."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )
