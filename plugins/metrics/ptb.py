"""The Penn Treebank tokens of captions, as pycocoevalcap's tokenizer gives them, without Java."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

from plugins.metrics.ptb_lexer import Lexer
from plugins.metrics.ptb_rules import CLASSES, RULES

DROPPED = frozenset(PUNCTUATIONS)
READ_AS = dict.fromkeys(map(ord, "\n\r\v\f\u2028\u2029"), " ") | dict.fromkeys(range(0xD800, 0xE000), "?")
OPEN = "\r"  # stands for the tokens of a chunk that depend on other chunks; no caption that was prepared has one
JOINED = 3  # chunks that are looked at together before their whole caption is
BLOCK = 4096  # captions at a time, to bound the memory


def tokenised(captions: Sequence[str]) -> list[str]:
    r"""Each caption's tokens, lower case, punctuation dropped, joined by spaces.

    They are what Stanford's `PTBTokenizer -preserveLines -lowerCase` (CoreNLP 3.4.1) finds in a file of these captions,
    one a line, less pycocoevalcap's PUNCTUATIONS. That tokenizer looks beyond a line's end, so a caption's last full
    stop may depend on the next caption: "…with a B." ends in "b" before "The…", and in "b." before "Two…".

    Every caption keeps a line of its own, unlike pycocoevalcap's: a line end in a caption (\n, \r, \v, \f, U+2028,
    U+2029) is a space, and a tag's quoted value ends with its caption. A lone surrogate is read as "?".

    Outside ASCII, letters and digits are those of Unicode 6.2's basic plane, as Stanford's are, and what no rule knows
    (emoji, say) is dropped and parts tokens. Lower case is Python's; Java's may differ for a capital sigma in a word
    with hyphens or digits and for letters newer than Unicode 13.

    The last two results are kept, so that several metrics of the same captions tokenise them once. The time is linear
    in the captions' length.
    """
    return list(_tokenised(tuple(captions)))


@lru_cache(maxsize=2)
def _tokenised(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Most chunks between spaces have the same tokens wherever they stand; each is then read once."""
    prepared = [text if text.isascii() and text.isprintable() else _prepared(text) for text in captions]
    chunks = _Chunks()
    lines: list[str] = []
    for start in range(0, len(prepared), BLOCK):
        text = "\n ".join(prepared[start : start + BLOCK]) + "\n"
        lines += "".join(map(chunks.__getitem__, text.split(" "))).split("\n")[:-1]
    for number, line in enumerate(lines):
        if number + 1 == len(lines):
            lines[number] = _in_context(prepared, number)
        elif OPEN in line:
            joined = chunks.joined(f"{prepared[number]}\n")
            lines[number] = _in_context(prepared, number) if joined is None else joined
    return tuple(line[1:] for line in lines)


def _prepared(caption: str) -> str:
    """Without line ends, and in UTF-16 as Java's strings are: two surrogates for a character beyond the basic plane."""
    units = memoryview(caption.translate(READ_AS).encode("utf-16"))[2:]
    return "".join(map(chr, units.cast("H")))


class _Chunks(dict[str, str]):
    """The tokens of a chunk that has a space or a line end on either side: a space before each, the line end at last.

    OPEN where they depend on what stands before or after.
    """

    def __missing__(self, chunk: str) -> str:
        end = "\n" if chunk.endswith("\n") else ""
        tokens, final = _tokens(chunk if end else f"{chunk} ", len(chunk) - len(end))
        blank_first = chunk != "\n" and chunk[:1].isspace()
        blank_last = bool(tokens) and tokens[-1][-1].isspace()
        self[chunk] = (_kept(tokens) if final and not blank_first and not blank_last else OPEN) + end
        return self[chunk]

    def joined(self, line: str) -> str | None:
        """A line's tokens, if those of each chunk depend on few chunks after it."""
        found, waiting = [], []
        for chunk in line.split(" "):
            waiting.append(chunk)
            tokens = self[" ".join(waiting)]
            if OPEN not in tokens:
                found.append(tokens)
                waiting = []
            elif len(waiting) == JOINED:
                break
        return None if waiting else "".join(found)[:-1]


def _in_context(captions: Sequence[str], number: int) -> str:
    """A caption's tokens, a space before each, with as many captions after it as they depend on."""
    size = 2
    while True:
        window = captions[number : number + size]
        last = number + size >= len(captions)
        tokens, final = _tokens("\n".join(window) + ("" if last else "\n"), len(window[0]))
        if final or last:
            break
        size *= 2
    if tokens:
        tokens[-1] = tokens[-1].rstrip()  # as pycocoevalcap does a line
    return _kept(tokens)


def _kept(tokens: Sequence[str]) -> str:
    words = " ".join(tokens).split(" ") if tokens else ()
    return "".join(f" {word}" for word in words if word not in DROPPED)


def _tokens(text: str, end: int) -> tuple[list[str], bool]:
    """The tokens that start before the end, and whether more text after the text's own end would have kept them."""
    scan = _lexer().scan(text)
    tokens: list[str] = []
    place, final = 0, True
    while place < end:
        match = scan.match(place)
        final = final and not match.open
        rule = RULES[match.rule]
        source = rule.cut(text[place : match.end])
        place += len(source) - rule.again
        token = rule.token(source)
        if token:
            tokens.append(_lower(token))
    return tokens, final


def _lower(token: str) -> str:
    return (token if token.isascii() else token.encode("utf-16", "surrogatepass").decode("utf-16")).lower()


@cache
def _lexer() -> Lexer:
    return Lexer((f"({rule.pattern})({rule.after})" for rule in RULES), CLASSES)
