r"""What the tokens of the Penn Treebank are, as Stanford's tokenizer of August 2014 (CoreNLP 3.4.1) sees them.

The longest match over all rules is the next token, and of equally long ones the first rule's. A pattern's characters
match in any case, its classes as they are written. `\l` is a letter and `\d` a digit of Unicode 6.2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Change = Callable[[str], str]


@dataclass(frozen=True)
class Rule:
    """A kind of token.

    pattern: of its text.
    token: makes the token from the text; empty where there is none.
    after: a pattern of what must follow, which counts for the length of the match.
    again: how many of the text's last characters are read once more.
    """

    pattern: str
    token: Change = str
    after: str = ""
    again: int = 0
    _tail: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        after = self.after.replace(r"\l", r"\w")  # the length is all that is asked for
        object.__setattr__(self, "_tail", re.compile(rf"({after})\Z", re.IGNORECASE))

    def cut(self, match: str) -> str:
        """The text, of a match of the pattern and what follows."""
        tail = self._tail.search(match) if self.after else None
        return match[: tail.start()] if tail else match


def _either(words: str) -> str:
    return f"({'|'.join(words.split())})"


# Characters.

NEWER = (  # letters and digits that Unicode 6.2 did not have
    "\u037f\u0528-\u052f\u0560\u0588\u05ef\u0860-\u088f\u08a1\u08ad-\u08c9\u0978\u0980\u09fc\u0af9\u0c34\u0c5a-\u0c5d"
    "\u0c80\u0cdd\u0d04\u0d54-\u0d5f\u0de6-\u0def\u0e86\u0e89\u0e8c\u0e8e-\u0e93\u0e98\u0ea0\u0ea8-\u0ea9\u0eac"
    "\u13f5-\u13fd\u16f1-\u16f8\u170d\u171f\u1878\u191d-\u191e\u19b0-\u19c0\u19c8-\u19c9\u1b4c\u1c80-\u1cbf"
    "\u1cf2-\u1cf3\u1cfa\u2c2f\u2c5f\u312e-\u312f\u31bb-\u31bf\u4db6-\u4dbf\u9fcd-\u9fff\ua698-\ua69d\ua78f"
    "\ua794-\ua79f\ua7ab-\ua7f7\ua8fd-\ua8fe\ua9e0-\ua9fe\uaa7e-\uaa7f\uab30-\uabbf"
)
FORMER = "\u1885\u1886"  # letters of Unicode 6.2 that have become marks
MARKS = (  # what a word holds as it holds letters
    "\u00ad\u02c2-\u0379\u0384-\u0385\u03f6\u0483-\u0487\u055a-\u055f\u0591-\u05bd\u05bf\u05c1-\u05c2\u05c4-\u05c5\u05c7"
    "\u0615-\u061a\u064b-\u065e\u0670\u06d6-\u06ed\u06fd-\u06fe\u070f-\u07b0\u07eb-\u07f3\u0900-\u0903\u093c-\u094e"
    "\u0951-\u0955\u0962-\u0963\u0981-\u0983\u09bc-\u09c4\u09c7-\u09c8\u09cb-\u09cd\u09d7\u09e2-\u09e3\u0a01-\u0a03"
    "\u0a3c\u0a3e-\u0a4f\u0a81-\u0a83\u0abc-\u0acf\u0b82\u0bbe-\u0bc2\u0bc6-\u0bc8\u0bca-\u0bcd\u0c01-\u0c03"
    "\u0c3e-\u0c56\u0d3e-\u0d44\u0d46-\u0d48\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd"
)
IS_NEWER = re.compile(f"[{NEWER}]").match


def _is_letter(character: str) -> bool:
    return (character.isalpha() and not IS_NEWER(character)) or character in FORMER


def _is_digit(character: str) -> bool:
    return unicodedata.category(character) == "Nd" and not IS_NEWER(character)


CLASSES: Mapping[str, Callable[[str], bool]] = {r"\l": _is_letter, r"\d": _is_digit}

APOSTROPHE = "(['\u0092\u2019]|&apos;)"
QUOTE = "(['\u0092\u2019`\u0091\u2018\u201b]|&apos;)"  # also those that are taken for an apostrophe
BLANK = "[ \t\u00a0\u2000-\u200a\u3000]"
NO_LATIN_LETTER = r"[\0-@\[-`{-\uffff]"
NO_LATIN_LETTER_OR_DIGIT = r"[\0-/:-@\[-`{-\uffff]"
SPACE = "[ \t\u00a0\u2000-\u200a\u3000\n\r\v\f\u0085\u2028\u2029]"
PAUSE = "[,;:\u3001]"
HYPHEN = "[-_\u058a\u2010\u2011]"
LETTER = rf"(\l|[{MARKS}]|&[aeiouAEIOU](acute|grave|uml);)"
DIGIT = "(\\d|[\u07c0-\u07c9])"
ALPHANUMERIC = f"({LETTER}|{DIGIT})"

# Words, and ends of words that are tokens of their own.

WORD = rf"{LETTER}{ALPHANUMERIC}*([.!?]{LETTER}{ALPHANUMERIC}*)*"
CLITIC = f"{APOSTROPHE}([msdMSD]|re|ve|ll)"
BEFORE_NOT = "[A-Za-z\u00ad]*[A-MO-Za-mo-z][\u00ad]*"
NOT = f"n{QUOTE}t"
APOSTROPHISED = (
    rf"{APOSTROPHE}(n|[2-9]0s|em|till?|cause)|({APOSTROPHE}n|[lLdDjJ]|dunkin|somethin|ol){APOSTROPHE}|o{QUOTE}o",
    rf"[A-HJ-XZn]{QUOTE}\l\l+|\l+[aeiouyAEIOUY]{QUOTE}[aeiouA-Z]\l*",
    r"cont'd\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l",
)
COMPOUND_PART = rf"([dDoOlL]{QUOTE}(\l|\d))?(\l|\d)+"
COMPOUND = f"{COMPOUND_PART}({HYPHEN}{COMPOUND_PART})*"
INITIALS = r"[A-Za-z](\.[A-Za-z])"
COUNTRIES = r"(canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-(u\.k|u\.s\.s\.r)"
HYPHENATED = rf"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(-([A-Za-z0-9\u00ad]+|({INITIALS}+|{COUNTRIES})\.))+"
JOINED = "[A-Z]+(([+&]|&amp;)[A-Z]+)+"
SLASHED = r"[A-Za-z0-9]+(-[A-Za-z]+){0,2}(\\?/[A-Za-z0-9]+(-[A-Za-z]+){0,2}){1,2}"
FILE = rf"{ALPHANUMERIC}+(\.{ALPHANUMERIC}+)*\." + _either(
    "bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql"
    " tar txt wav x xml zip"
)

# Addresses and tags. A quoted value ends on its line, unlike Stanford's.

URL = r'https?://[^ \t\n\f\r"<>|(){}]+[^ \t\n\f\r"<>|.!?(){},-]'
HOST = (  # "," to "_" is a range
    r"""(www\.([^ \t\n\f\r"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}|([^ \t\n\f\r"`'<>|.!?(){},-_$]+\.)+(com|net|org|edu))"""
    r"""(/[^ \t\n\f\r"<>|()]+[^ \t\n\f\r"<>|.!?(){},-])?"""
)
MAIL = (
    r'(&lt;|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\u00a0{}]*@([^ \t\n\f\r"<>|(){}.\u00a0]+\.)*[^ \t\n\f\r"<>|(){}.\u00a0]+'
    "(&gt;|>)?"
)
HANDLE = f"@[a-zA-Z_][a-zA-Z_0-9]*|#{LETTER}+"
NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
VALUE = "('[^'\n]*'|\"[^\"\n]*\")"
TAG = rf"<([!?][A-Za-z-][^>\r\n]*|{NAME}( +({NAME}|{NAME} *= *{VALUE}))* */?|/{NAME}) *>"

# Numbers.

DATE = f"{DIGIT}{{1,2}}[-/]{DIGIT}{{1,2}}[-/]{DIGIT}{{2,4}}"
NUMBER = rf"[-+]?({DIGIT}+|{DIGIT}*([.:,\u00ad\u066b\u066c]{DIGIT}+)+)"
SCRIPT = "[\u207a\u207b\u208a\u208b]?([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)"
FRACTION = rf"({DIGIT}{{1,4}}[- \u00a0])?{DIGIT}{{1,4}}(\\?/|[\u2044]){DIGIT}{{1,4}}"
PHONE = (
    "(\\([0-9]{2,3}\\)[ \u00a0]?|(\\+\\+?)?([0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])[0-9]{3,4}[- \u00a0]?[0-9]{3,5}"
    r"|((\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
)

# Abbreviations: with the full stop.

SHORT = _either(  # often a sentence's last word
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri"
    " ala ariz [A]z [A]rk calif colo conn ct dak [D]el fla ga [I]ll ind kans? ky [L]a [M]ass md mich minn [M]iss mo"
    " mont neb nev okla [O]re [P]a penn tenn [T]ex va vt [W]ash wisc? wyo"
    " inc cos? corp pp?t[ye]s? ltd plc rt bancorp bhd assn univ intl sys tel est ext sq"
    r" jr sr bros (ed|ph)\.d blvd rd esq etc al seq bldg"
)
TITLE = _either(  # hardly ever a sentence's last word
    "mr mrs ms [M]iss drs? profs? sens? reps? attys? lt col gen messrs govs? adm rev maj sgt cpl pvt capt ste? ave pres"
    " lieut hon brig co?mdr pfc spc supts? det mt ft adj adv asst assoc ens insp mlle mme msgr sfc"
    r" vs alex wm jos cie a\.k\.a cf treas ph invt elec natl m[ft]g dept"
)
BEFORE_NUMBER = _either("ca figs? prop nos? art bldg pp op")
ACRONYM = f"({INITIALS}*|{COUNTRIES})"
SENTENCE_START = _either(  # the words that end a sentence with the acronym before them
    r"[A]bout [A]ccording [A]dditionally [A]fter [A]n [A] [A]s [A]t [B]ut [E]arlier [H]e [H]er [H]ere [H]owever [I]f"
    r" [I]n [I]t [L]ast [M]any [M]ore [M]r\. [M]s\. [N]ow [O]nce [O]ne [O]ther [O]ur [S]he [S]ince [S]o [S]ome [S]uch"
    r" [T]hat [T]he [T]heir [T]hen [T]here [T]hese [T]hey [T]his [W]e [W]hen [W]hile [W]hat [Y]et [Y]ou"
)

# Symbols.

SMILEY = r"[<>]?[:;=][-o*']?[()DPdpO\\{@|[\]]"
KAOMOJI = (
    r"[\^x=~<>]\.\[\^x=[^<\n]*<>\]|[-\^x=~<>']_[-\^x=~<>']|\([-\^x=~<>'][_.]?[-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)"
)
QUOTATION = (
    rf"{APOSTROPHE}|''|[`\u2018\u2019\u201a\u201b\u201c\u201d\u0091\u0092\u0093\u0094\u201e\u201f\u2039\u203a\u00ab\u00bb]"
    "{1,2}"
)
CURRENCY = "[\u00a2\u00a3\u00a4\u00a5\u0080\u20a0\u20ac\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6]"
SINGLE = (  # symbols that are a token each
    r"[=/+%&~\^|\\<>{}()[\].\u00a1\u00bf\u00a6-\u00a9\u00ac\u00ae-\u00ba\u00d7\u00f7\u037e\u0387\u0589\u05be\u05c0\u05c3"
    r"\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060a\u060c\u0614\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d"
    r"\u07f6-\u07f8\u07fa\u0964\u0965\u0e4f\u1fbd\u2016\u2017\u2020-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044"
    r"\u207a-\u207f\u208a-\u208e\u2100-\u214f\u2190-\u2bff\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65]"
)


def _nothing(text: str) -> str:
    return ""


def _soft(text: str) -> str:
    """Without soft hyphens, unless there is nothing else."""
    return text.replace("\u00ad", "") or "-"


def _ampersand(text: str) -> str:
    return re.sub("&amp;", "&", text, flags=re.IGNORECASE)


def _glued(text: str) -> str:
    return text.replace(" ", "\u00a0")


ROUND = str.maketrans({"(": "-lrb-", ")": "-rrb-"})
BRACKETS = ROUND | str.maketrans({"[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"})
FRACTIONS = str.maketrans({"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"})
CURRENCIES = str.maketrans({"¢": "cents", "£": "#", **dict.fromkeys("\u0080¤₠€", "$")})
QUOTES = {
    "&apos;": "'",
    **dict.fromkeys(['"', "&quot;"], "''"),
    **dict.fromkeys("\u0091\u2018\u201b\u2039", "`"),
    **dict.fromkeys("\u0092\u2019\u203a", "'"),
    **dict.fromkeys("\u0093\u201c\u00ab", "``"),
    **dict.fromkeys("\u0094\u201d\u00bb", "''"),
}


def _quotes(text: str) -> str:
    """As LaTeX writes them; the entities are known in lower case only."""
    return re.sub("|".join(QUOTES), lambda quote: QUOTES[quote[0]], text)


RULES = (
    Rule(r"c\+\+|(c|f)#"),
    Rule("can", after="not"),
    Rule("'t", after="was|is"),
    Rule("gon|wan", after="na"),
    Rule("got", after="ta"),
    Rule("lem|gim", after="me"),
    Rule(TAG, _glued),
    Rule("&(md|mdash|ndash);|[\u0096\u0097\u2013\u2014\u2015]", lambda _: "--"),
    Rule("&amp;", _ampersand),
    Rule("&(ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);"),
    Rule(WORD, _soft, after=CLITIC),
    Rule(BEFORE_NOT, _soft, after=NOT),
    Rule(WORD, _soft),
    Rule("|".join(APOSTROPHISED)),
    Rule(f"y{APOSTROPHE}", after=r"\l"),
    Rule(f"{URL}|{HOST}|{MAIL}|{HANDLE}"),
    Rule(f"{CLITIC}|{NOT}", _quotes, after=NO_LATIN_LETTER),
    Rule(DATE),
    Rule(NUMBER, _soft),
    Rule(SCRIPT),
    Rule(FRACTION, _glued),
    Rule("[\u00bc-\u00be\u2153-\u215e]", lambda text: text.translate(FRACTIONS)),
    Rule(
        f"-(rrb|lrb|rcb|lcb|rsb|lsb)-|c\\.d\\.s|pro-|anti-|s(&|&amp;)(p-500|ls)|cap{APOSTROPHE}n|c{APOSTROPHE}est",
        _ampersand,
    ),
    Rule(SLASHED),
    Rule(r"[A-Z]*\$|#"),
    Rule(CURRENCY, lambda text: text.translate(CURRENCIES)),
    Rule(
        rf"{ACRONYM}\.",
        lambda text: text if len(text) > 2 else text[0],
        after=f"{SPACE}+({SENTENCE_START}|{TAG}){SPACE}",
    ),
    Rule(rf"{BEFORE_NUMBER}\.", after=rf"{SPACE}?\d"),
    Rule(r"(pt[eyEY]|co)\.", after=f"{BLANK}(ltd|lim)"),
    Rule(rf"{SHORT}\.", after=r"[\s\S][\s\S]"),
    Rule(rf"{SHORT}\.", again=1),
    Rule(rf"({TITLE}|{ACRONYM})\."),
    Rule(f"{TITLE}|{ACRONYM}", after=SPACE),
    Rule(f"{APOSTROPHE}[0-9][0-9]", after=SPACE),
    Rule(FILE, after=f"{SPACE}|[.?!,]"),
    Rule(rf"{WORD}\.", _soft, after=PAUSE),
    Rule(PHONE, lambda text: _glued(text).translate(ROUND)),
    Rule("<|&lt;", lambda _: "<"),
    Rule(">|&gt;", lambda _: ">"),
    Rule(SMILEY, lambda text: text.translate(ROUND), after=NO_LATIN_LETTER_OR_DIGIT),
    Rule(KAOMOJI, lambda text: text.translate(ROUND)),
    Rule("-+", lambda text: text if len(text) not in {3, 4} else "--"),
    Rule(r"\.{3,5}|(\.[ \u00a0]){2,4}\.|[\u0085\u2026]", lambda _: "..."),
    Rule(rf"@+|#+|_+|\*+|(\\\*){{1,3}}|[?!]+|{PAUSE}"),
    Rule(rf"{HYPHENATED}\.", _soft, after=PAUSE),
    Rule(HYPHENATED, _soft),
    Rule(rf"{COMPOUND}\.", after=PAUSE),
    Rule(COMPOUND),
    Rule(rf"{JOINED}\.", _ampersand, after=PAUSE),
    Rule(JOINED, _ampersand),
    Rule("'", after="[A-Za-z][^ \t\n\r\u00a0]"),
    Rule(f"{CLITIC}|{NOT}|{QUOTATION}", _quotes),
    Rule('"|&quot;', _quotes),
    Rule("<<|>>"),
    Rule(SINGLE, lambda text: text.translate(BRACKETS)),
    Rule(rf"{BLANK}+|[\s\S]|&nbsp;", _nothing),
)
