"""Whether SPICE can be computed on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from pycocoevalcap.spice import get_stanford_models as models

from harness import CheckResult

JARS = (f"{models.JAR}.jar", f"{models.JAR}-models.jar")
TOO_NEW = 15
"""The first Java without the JavaScript engine that SPICE writes its results with."""


class Spice:
    """What pycocoevalcap's SPICE needs beside itself: two files of Stanford CoreNLP, and a Java that is old enough.

    Nothing is downloaded.
    """

    def run(self) -> CheckResult:
        folder = Path(models.SPICEDIR, models.SPICELIB)
        lacking = " and ".join(name for name in JARS if not (folder / name).is_file())
        details: list[str] = []
        hints: list[str] = []
        if lacking:
            details.append(f"{lacking} not in {folder}")
            hints.append(
                f"put {lacking} there, from http://nlp.stanford.edu/software/{models.CORENLP}.zip; where neither is, "
                f"`python -m {models.__name__}` does it"
            )
        version = java_version()
        if version is not None and version >= TOO_NEW:
            details.append(f"Java {version} has no JavaScript engine")
            hints.append("put Java 8 or 11 first on the PATH")
        if details:
            return CheckResult(False, "; ".join(details), "; ".join(hints))
        return CheckResult(True, f"{' and '.join(JARS)} in {folder}")


def java_version() -> int | None:
    """The major version of the Java on the PATH; None where there is none that tells."""
    java = shutil.which("java")
    if java is None:
        return None
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None
