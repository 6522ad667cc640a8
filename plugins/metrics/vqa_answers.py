"""How the VQA challenge's script rewrites an answer before it compares.

The rules are those of GT-Vision-Lab/VQA, `vqaEval.py`, oddities included. Where text is not ASCII, digits are what
`\\d` matches, white space is what `str.split` splits at, and case is `str.lower`'s.
"""

from __future__ import annotations

import re
from functools import lru_cache

MARKS = ';/[]"{}()=+\\_-><@`,?!'
NUMBER_IN_GROUPS = re.compile(r"\d,\d")
# The script's own pattern has a mistyped look-behind that never holds, and passes a flag (32) as the count.
POINT = re.compile(r"\.(?!\d)")
MOST_POINTS = 32

ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}

CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""
"""Contractions that are mended where one apostrophe is missing."""

CONTRACTIONS = {
    form[:at] + form[at + 1 :]: form for form in CONTRACTED.split() for at, sign in enumerate(form) if sign == "'"
}
CONTRACTIONS["somebody'd"] = "somebodyd"


def cleaned(answer: str) -> str:
    """Line breaks and tabs as spaces, none at the ends."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def without_punctuation(answer: str) -> str:
    """Marks deleted, or made spaces where no space touches any of their kind and no number has its digits grouped."""
    grouped = NUMBER_IN_GROUPS.search(answer) is not None
    marks = {
        ord(mark): "" if grouped or f"{mark} " in answer or f" {mark}" in answer else " "
        for mark in MARKS
        if mark in answer
    }
    return POINT.sub("", answer.translate(marks), count=MOST_POINTS)


@lru_cache(maxsize=1 << 16)
def normalised(answer: str) -> str:
    """Punctuation, then lower case, digits for number words, no articles, contractions mended."""
    words = (NUMBERS.get(word, word) for word in without_punctuation(answer).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
