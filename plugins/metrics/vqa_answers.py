"""How the scripts of VQA accuracy rewrite an answer before they compare.

The rules are those of GT-Vision-Lab/VQA, `vqaEval.py`, oddities included, and of the scripts made from it. Where
text is not ASCII, digits are what `\\d` matches, white space is what `str.split` splits at and `str.strip` strips,
and case is `str.lower`'s: what the script does under Python 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MARKS = ';/[]"{}()=+\\_-><@`,?!'
MARK = re.compile(f"[{re.escape(MARKS)}]")
GROUPED = re.compile(r"\d,\d")
GROUPED_LOOSELY = re.compile(r"\d,+\d")
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

# VizWiz's copy of the table went through a word processor: most of its apostrophes are typographic.
STRAIGHT_KEYS = {"couldn'tve", "hadn'tve"}
STRAIGHT = {"ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've"}
TYPOGRAPHIC_CONTRACTIONS = {
    form if form in STRAIGHT_KEYS else form.replace("'", "’"): mended
    if mended in STRAIGHT
    else mended.replace("'", "’")
    for form, mended in CONTRACTIONS.items()
}

ODD = re.compile("[^a-z0-9 ]")
# "" is what splitting at single spaces leaves of others beside them.
CHANGED = ARTICLES | NUMBERS.keys() | CONTRACTIONS.keys() | {""}


def unchanged(text: str) -> bool:
    """Whether plain words, which no script rewrites, are all that a text has: then its parts have nothing else too."""
    return ODD.search(text) is None and CHANGED.isdisjoint(text.split(" "))


def cleaned(answer: str) -> str:
    """Line breaks and tabs as spaces, none at the ends."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def without_punctuation(answer: str, grouped: re.Pattern[str] = GROUPED) -> str:
    """Marks deleted, or made spaces where no space touches any of their kind and no number has its digits grouped."""
    if MARK.search(answer) is not None:
        delete_all = grouped.search(answer) is not None
        marks = {
            ord(mark): "" if delete_all or f"{mark} " in answer or f" {mark}" in answer else " "
            for mark in MARKS
            if mark in answer
        }
        spaced = answer.translate(marks)
    else:
        spaced = answer
    return POINT.sub("", spaced, count=MOST_POINTS)


def normalised(answer: str, grouped: re.Pattern[str] = GROUPED, contractions: Mapping[str, str] = CONTRACTIONS) -> str:
    """Punctuation, then lower case, digits for number words, no articles, contractions mended."""
    if unchanged(answer):
        return answer
    words = (NUMBERS.get(word, word) for word in without_punctuation(answer, grouped).lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


def separated(answer: str) -> str:
    """What EvalAI's answer processor, of which MMF and lmms-eval have copies, does before it normalises."""
    return answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
