"""The Penn Treebank tokens of captions, by the tokenizer that pycocoevalcap brings; it needs Java."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pycocoevalcap.tokenizer import ptbtokenizer

from harness import HarnessError, MissingExtra

JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
DROPPED = frozenset(ptbtokenizer.PUNCTUATIONS)
LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


def java() -> str:
    """The Java program.

    Raises:
        MissingExtra: there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise MissingExtra(
            "captions need Java 8 or newer to be scored, and there is no `java` on the PATH; install one"
        )
    return found


@lru_cache(maxsize=2)
def tokenised(captions: tuple[str, ...]) -> Sequence[str]:
    """Each caption's tokens, lower case, punctuation dropped, joined by spaces.

    The last two results are kept, so that several metrics of the same captions tokenise them once. Whether a full
    stop ends a sentence or belongs to an abbreviation may depend on the caption that follows, so their order counts.
    A line break inside a caption is a space. (The tokenizer takes one caption a line; pycocoevalcap's wrapper lets
    some line breaks through, and every later caption then moves to the next picture.)

    Raises:
        MissingExtra: there is no Java.
        HarnessError: the tokenizer failed.
    """
    if not captions:
        return ()
    done = subprocess.run(
        [java(), "-cp", str(JAR), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"],
        input="\n".join(caption.translate(LINE_BREAKS) for caption in captions).encode(errors="replace"),
        capture_output=True,
        check=False,
    )
    lines = done.stdout.decode().split("\n")
    if done.returncode or len(lines) != len(captions):
        complaint = done.stderr.decode(errors="replace").strip()[-500:]
        raise HarnessError(f"{JAR}: {len(lines)} lines for {len(captions)}, exit code {done.returncode}: {complaint}")
    return tuple(" ".join(word for word in line.rstrip().split(" ") if word not in DROPPED) for line in lines)
