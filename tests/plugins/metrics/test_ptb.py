"""Penn Treebank tokens against pycocoevalcap's tokenizer, a Java program: on real captions, by case, at random."""

from __future__ import annotations

import random
import re
import subprocess
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocoevalcap.tokenizer import ptbtokenizer

from plugins.metrics import ptb
from plugins.metrics.ptb import tokenised
from plugins.metrics.ptb_lexer import LANDMARK, Lexer

Load = Callable[[str], Any]

JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)


def official(captions: Sequence[str]) -> list[str]:
    found = ptbtokenizer.PTBTokenizer().tokenize({n: [{"caption": caption}] for n, caption in enumerate(captions)})
    return [found[n][0] for n in range(len(captions))]


def official_of_files(folder: Path, files: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each file's captions, by one start of the program."""
    for n, captions in enumerate(files):
        (folder / str(n)).write_bytes("\n".join(captions).encode())
    names = folder / "names"
    names.write_text("\n".join(str(folder / str(n)) for n in range(len(files))))
    command = ["java", "-cp", JAR, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    subprocess.run([*command, "-ioFileList", names], capture_output=True, check=True)
    dropped = ptbtokenizer.PUNCTUATIONS
    return [
        [" ".join(word for word in line.rstrip().split(" ") if word not in dropped) for line in content.split("\n")]
        for content in ((folder / f"{n}.tok").read_bytes().decode() for n in range(len(files)))
    ]


def must_equal_official(captions: Sequence[str]) -> None:
    differing = [row for row in zip(captions, tokenised(captions), official(captions), strict=True) if row[1] != row[2]]
    assert not differing, f"{len(differing)} differ, such as {differing[:3]}"


def captions_of(load: Load, truth: str, results: str) -> tuple[list[str], list[str]]:
    """References and answers, in the order of the results."""
    references: dict[int, list[str]] = {}
    for row in load(f"captions/{truth}")["annotations"]:
        references.setdefault(row["image_id"], []).append(row["caption"])
    rows = load(f"captions/{results}")
    return [text for row in rows for text in references[row["image_id"]]], [row["caption"] for row in rows]


# Real captions.


@pytest.mark.parametrize(
    ("name", "truth", "results"),
    [
        ("fake1000", "captions_val2014.json.gz", "fake1000_results.json"),
        ("karpathy_magic_result", "karpathy_test_gt.json.gz", "karpathy_test_results_magic.json"),
    ],
)
def test_official_tokens(load: Load, name: str, truth: str, results: str) -> None:
    references, answers = captions_of(load, truth, results)
    expected = load(f"captions/official_{name}.ptb_tokens.json.gz")
    ids = [str(row["image_id"]) for row in load(f"captions/{results}")]
    assert tokenised(references) == [text for image in ids for text in expected["gts"][image]]
    assert tokenised(answers) == [text for image in ids for text in expected["res"][image]]


@pytest.mark.slow
@pytest.mark.usefixtures("java")
def test_all_of_val2014(load: Load) -> None:
    for captions in captions_of(load, "val2014_4refs_gt.json.gz", "val2014_results_fifth_human.json.gz"):
        must_equal_official(captions)


# Cases, each of which the official tokenizer confirms where there is Java.

CASES = {
    "A man can't, won't and didn't; he's there.": "a man ca n't wo n't and did n't he 's there",
    "DON'T! I'LL GONNA go, cannot gimme 'tis y'all": "do n't i 'll gon na go can not gim me 't is y' all",
    "o'clock 'em rock 'n' roll '90s, '05 dogs' O'Brien's": "o'clock 'em rock 'n' roll '90s '05 dogs o'brien 's",
    "colour centre theatre": "colour centre theatre",
    "He said \"hi\" (twice) [sic] {x} ``so''": "he said hi -lrb- twice -rrb- -lsb- sic -rsb- -lcb- x -rcb- so",
    "Mr. Smith vs. the U.S. etc. at 5 p.m. on Jan. 5.": "mr. smith vs. the u.s. etc. at 5 p.m. on jan. 5",
    "art. 5 by no. 10, not art. or no.": "art. 5 by no. 10 not art or no",
    "Vitamin C. The dog. Vitamin C. the dog": "vitamin c the dog vitamin c. the dog",
    "1,000.50 -5 7:30pm 1/2 2 3/4 12/25/99 555-1234 (555) 555-1234": "1,000.50 -5 7:30 pm 1/2 2\u00a03/4 12/25/99 "
    "555-1234 -lrb-555-rrb-\u00a0555-1234",
    "$5 US$5 50% #1 #tag @me C# c++ AT&T R&amp;D": "$ 5 us$ 5 50 % # 1 #tag @me c# c++ at&t r&d",
    "http://a.com/x?y=1, www.b.org/zz. c.net me@d.edu <e@f.com>": "http://a.com/x?y=1 www.b.org/zz c.net me@d.edu "
    "<e@f.com>",
    "well-known mid-20th and/or a/b/c/d pro-life": "well-known mid-20th and/or a/b/c / d pro-life",
    "wait... . . . what --- no -- yes - ----- ?! !!": "wait what no yes ----- ?! !!",
    ":) and :-( and ^_^ and ;D.": ":-rrb- and :--lrb- and ^_^ and ;d",
    '<b> bold </b> <a href="x y"> 1 < 2 <3 &lt; &quot;': '<b> bold </b> <a\u00a0href="x\u00a0y"> 1 < 2 < 3 <',
    "file.txt 4.html, a.b.c": "file.txt 4.html a.b.c",
    "a\u00a0b ½ £5 ¢ € “x” ‘y’ it’s don’t — … soft\u00adly café Straße": "a b 1/2 # 5 cents $ x y it 's do n't softly "
    "café straße",
    "日本 собака ٣ 😀 x😀y 𝐀 http://😀": "日本 собака ٣ x y http://😀",
    " two  spaces\tand tabs ": "two spaces and tabs",
    "http://a\u00a0": "http://a",
    "http://a\u00a0 .": "http://a\u00a0",
    "\u00a0x.com \u00a0x.com": "\u00a0x.com x.com",
    "=.[^x= . <>] a": "=.[^x= <>] a",
}


@pytest.mark.parametrize("caption", CASES)
def test_case(caption: str) -> None:
    assert tokenised([caption, "x"])[0] == CASES[caption]


@pytest.mark.usefixtures("java")
def test_cases_are_official() -> None:
    assert official([*CASES, "x"])[:-1] == list(CASES.values())


@pytest.mark.parametrize(
    ("captions", "tokens"),
    [
        (["a B.", "The end"], ["a b", "the end"]),
        (["a B.", "", "The end"], ["a b", "", "the end"]),
        (["a B.", "two"], ["a b.", "two"]),
        (["a B."], ["a b."]),
        (["a B.", "The"], ["a b.", "the"]),  # a space must follow the word
        (["modern art.", "5 men"], ["modern art.", "5 men"]),
        (["modern art.", "five"], ["modern art", "five"]),
        (["Jan.5"], ["jan. .5"]),
        (["Jan.5", "x"], ["jan. 5", "x"]),
        ([":)"], ["-rrb-"]),
        ([":)", ":)", "x"], [":-rrb-", ":-rrb-", "x"]),
        (["'99"], ["99"]),
        (["'99", ""], ["'99", ""]),
        ([], []),
        ([""], [""]),
        (["", "...", ""], ["", "", ""]),
    ],
)
def test_what_follows_a_caption(tmp_path: Path, captions: list[str], tokens: list[str], request: Any) -> None:
    assert tokenised(captions) == tokens
    if captions:
        request.getfixturevalue("java")
        assert official_of_files(tmp_path, [captions]) == [tokens]


def test_every_caption_keeps_its_line() -> None:
    captions = ("A dog.\r\nIt runs!", "two\u2028parts\v\f", "one\n", "\u2029", "<a b='", "x'> y", "=.[^x=", "<>]")
    expected = ["a dog it runs", "two parts", "one", "", "< a b =", "x > y", "= -lsb- ^ x =", "< > -rsb-"]
    assert tokenised(captions) == expected


def test_lone_surrogates_are_question_marks() -> None:
    assert tokenised(["a \ud800 dog\udfff.", "\udc00\ud800"]) == tokenised(["a ? dog?.", "??"]) == ["a dog", "??"]


def test_no_java_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert tokenised(["An okapi isn't here."]) == ["an okapi is n't here"]


def test_captions_are_tokenised_once_for_several_metrics() -> None:
    captions = ["a zebra", "one gnu"]
    tokenised(captions).append("spoilt")
    before = ptb._tokenised.cache_info()
    assert tokenised(tuple(captions)) == ["a zebra", "one gnu"]
    assert ptb._tokenised.cache_info().hits == before.hits + 1


@pytest.mark.parametrize("piece", ["a,", "a@(", "<!a ", "2 ", "A.\t", "n't ", "é,", "A brown dog, "])
def test_long_text_takes_linear_time(piece: str) -> None:
    """Were it quadratic, the test would run for hours."""
    count = 150_000 // len(piece)
    (short, _), (long, _) = (tokenised([piece * n, "x"]) for n in (1, count))
    assert len(long.split()) == count * len(short.split())


# At random.

PIECES = re.findall(
    r"\S+",
    """
    Mr. Dr. U.S. U.S U.K. a.m. P.M. etc. Jan. jan Inc. Co. vs. e.g. Ph.D. St. No. no. art. figs. ca. a.k.a. Miss. mass.
    Ill. Tex. cf. TREAS. Mfg. pty. ltd PTY. ptY. lim cannot CANNOT gonna Wanna gimme 'tis 'TWAS can't DON'T n't y'all
    I'm he'd He'S o'clock O'Neill l'eau 'em 'til 'n' ol' cont'd. c'mon s'mores Cap'n c'est J' '90s '05 '9 'a 'ab 's 'LL
    1 2 12th 1,000 10.5 .5 -5 3/4 1-1/2 12345/1 7:30 10:30pm 1/2/2012 1-2-99 1990's 100% $5 US$ # #1 #tag c# F# c++
    555-1234 (555) 555.123.4567 +1 800-1234 http://a.b http:// www.foo.com/a foo.com Foo.org/x, me@x.com <me@x.com>
    @me a@ @a.b foo.txt a.b.c 4.txt x.c U.S.-U.K. Sino-U.S. non-U.S A.B. I. B. co-ed T-shirt mid-20th A-B- -a pro- --
    and/or a/b/c/d \\/ a\\/b AT&T at&t A+B S&P-500 S&amp;Ls &amp; &AMP; &lt; &GT; &quot; &QUOT; &apos; &nbsp; &mdash;
    caf&eacute; &#39; it&apos;s don&apos;t <b> </b> <br/> <a b="c" d> <a href='x'> <!-- < > << <3 </b :) :-( ;D :p >:(
    ^_^ '_' (-_-) (^.^) ( ) [ ] { } -LRB- -rrb- " ' `` '' ` . .. ... .... ? ! ?! a?b , ; : ,, * ** \\* + % ~ ^ | = / @
    The There About Mr. He A a dog dogs, man's woman running street. IT it a_b w/ --- _
    """,
)
JOINTS = ["", "", " ", " ", " ", "  ", ".", ",", "-", "'", "'s", " .", '"', ")", "/"]
PUNCTUATION = ".,;:!?'\"`-_()[]{}<>&@#$%^*+=~/\\| "


def random_caption(rng: random.Random, words: Sequence[str], extra: Sequence[str] = ()) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return "".join(rng.choices([chr(code) for code in range(32, 127)], k=rng.randint(1, 60)))
    if kind == 1:
        parts = [rng.choice([*PUNCTUATION, *extra]) * rng.choice([1, 1, 2, 3, 4, 6]) for _ in range(rng.randint(1, 8))]
        return "".join(part + rng.choice(["", rng.choice(words)]) for part in parts)
    if kind == 2:
        return "".join(rng.choices([*"0123456789012345.,-/:$%() +", "th", "s", "am", *extra], k=rng.randint(1, 25)))
    caption = "".join(rng.choice(words) + rng.choice([*JOINTS, *extra]) for _ in range(rng.randint(1, 9)))
    return caption if kind == 3 else "".join(rng.choice([letter, letter.swapcase()]) for letter in caption)


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("count", [10_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_random_captions(count: int) -> None:
    rng = random.Random(count)
    must_equal_official([random_caption(rng, PIECES) for _ in range(count)])


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("count", [10_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_random_captions_of_real_words(load: Load, count: int) -> None:
    rng = random.Random(count)
    captions = [row["caption"] for row in load("captions/karpathy_test_gt.json.gz")["annotations"]]
    words = [word for caption in captions for word in caption.split()]
    must_equal_official([random_caption(rng, words) for _ in range(count)])


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_captions_beyond_ascii(count: int) -> None:
    extra = (
        "\x00\x01\x1c\x7f\x80\x85\x91\x92\x93\x94\x96\x97\xa0\xad¢£¤¥«»½¼¾²³¹°×¡¿§ªº\u200b\u2003\u2044\u2010\u2011–—―"
        "‘’‚‛“”„‟‹›…·•€₤₠⅓⅛⁺₂\u3000\ufeff\u0300éÉñßİıſK中日本ア가אبไก่१२٣߀😀𝐀❤️☃™№"
    )
    rng = random.Random(count)
    must_equal_official([random_caption(rng, PIECES, extra) for _ in range(count)])


@pytest.mark.usefixtures("java")
def test_ends_of_files(tmp_path: Path) -> None:
    rng = random.Random(0)
    files = [[random_caption(rng, PIECES) for _ in range(rng.randint(1, 3))] for _ in range(300)]
    assert [tokenised(captions) for captions in files] == official_of_files(tmp_path, files)


@pytest.mark.slow
@pytest.mark.usefixtures("java")
@pytest.mark.parametrize(
    "form", ["{0}", "x a{0} b", "a{0}b 1{0}2", "I.{0}The dog Jan.{0}5 etc.{0}A", "'{0}a :){0} \"{0}"]
)
def test_every_character(form: str) -> None:
    characters = [chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) not in {"Cs", "Zl", "Zp"}]
    must_equal_official([form.format(character) for character in characters if character not in "\n\r\v\f"])


@given(st.lists(st.lists(st.sampled_from([*PIECES, "", "\u00a0x.com", "http://a\u00a0"]), max_size=5).map(" ".join)))
@example(["\u00a0x.com \u00a0x.com http://a\u00a0", "2 3/4 . . . A.", "", "The 2 2 2 2 2"])
@settings(deadline=None, max_examples=100)
def test_chunks_have_the_tokens_of_whole_captions(captions: list[str]) -> None:
    whole = [ptb._in_context(captions, number).removeprefix(" ") for number in range(len(captions))]
    assert tokenised(captions) == whole


# The lexer.

patterns = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^a]", "c"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.lists(inner, max_size=3).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,2}", "{1,3}"])).map(
            lambda part: f"({''.join(part)})"
        ),
    ),
    max_leaves=8,
)


@given(st.lists(patterns, min_size=1, max_size=4), st.text("abc", min_size=1, max_size=3 * LANDMARK))
@example(["a[^c]*c", "[ab]"], "ab" * LANDMARK)
@settings(deadline=None, max_examples=200)
def test_the_lexer_finds_the_longest_match_of_the_first_rule(rules: list[str], text: str) -> None:
    rules.append(".")
    scan = Lexer(rules, {}).scan(text)
    place = 0
    while place < len(text):
        lengths = [
            max((end for end in range(place, len(text) + 1) if re.compile(rule).fullmatch(text, place, end)), default=0)
            for rule in rules
        ]
        match = scan.match(place)
        assert (match.end, match.rule) == (max(lengths), lengths.index(max(lengths)))
        place = match.end


def test_the_lexer_knows_cases_and_classes() -> None:
    scan = Lexer([r"[a]\l", "ab", "[.]{2,3}", "."], {r"\l": lambda character: character in "Bé"}).scan("abABaé....")
    assert [scan.match(place)[:2] for place in (0, 2, 4, 6, 9)] == [(1, 2), (1, 4), (0, 6), (2, 9), (3, 10)]


def test_the_lexer_knows_when_more_text_could_count() -> None:
    lexer = Lexer(["ab*c", "a", "d", "."], {})
    assert [lexer.scan("dabbd").match(place) for place in (0, 1)] == [(2, 1, False), (1, 2, False)]
    assert lexer.scan("dabb").match(1) == (1, 2, True)
