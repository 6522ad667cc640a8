"""Where the Java program is, for the scorers that need it."""

from __future__ import annotations

import shutil

from harness import MissingExtra


def java() -> str:
    """The Java program's path.

    Raises:
        MissingExtra: there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise MissingExtra("METEOR and SPICE need Java 8 or newer, and there is no `java` on the PATH; install one")
    return found
