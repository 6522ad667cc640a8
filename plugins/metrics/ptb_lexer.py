"""A lexer: the longest match over all rules, the first rule of equals, in time linear in the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

Test = Callable[[str], object]
Places = frozenset[int]
Part = Callable[[int], int]  # builds a piece of a pattern in front of a place, and gives the piece's first place

SYMBOL = re.compile(r"\\.|\[(?:\\.|[^\\\]])*\]|\{\d+(?:,\d*)?\}|.", re.DOTALL)
TIMES = {"?": (0, 1), "*": (0, None), "+": (1, None)}
LANDMARK = 16  # a search that failed is remembered at every 16th character


class Match(NamedTuple):
    """The longest match at a place of a text.

    rule: the number of the first rule that has it.
    end: where it ends.
    open: whether more text after the text's end could have made another match.
    """

    rule: int
    end: int
    open: bool


class _Patterns:
    """The rules' patterns as places, of which each has one move, a rule, or free ways to other places.

    moves: the class of characters that leads from a place, and the place that it leads to.
    rules: the rule that is matched where a place is reached.
    classes: the classes' numbers, by how the patterns write them.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.moves: dict[int, tuple[int, int]] = {}
        self.rules: dict[int, int] = {}
        self.classes: dict[str, int] = {}
        self._ways: dict[int, tuple[int, ...]] = {}
        self._symbols: Iterator[str] = iter(())
        self._next = ""
        self._size = 0
        self.start = self._fork(self._rule(*item) for item in enumerate(patterns))
        self._reach: dict[int, Places] = {}

    def reach(self, place: int) -> Places:
        """The places with a move or a rule that free ways lead to."""
        if place not in self._reach:
            seen, queue = {place}, [place]
            while queue:
                more = set(self._ways.get(queue.pop(), ())) - seen
                seen |= more
                queue += more
            self._reach[place] = frozenset(seen - self._ways.keys())
        return self._reach[place]

    def _place(self) -> int:
        self._size += 1
        return self._size

    def _fork(self, ways: Iterable[int]) -> int:
        place = self._place()
        self._ways[place] = tuple(ways)
        return place

    def _rule(self, number: int, pattern: str) -> int:
        end = self._place()
        self.rules[end] = number
        self._symbols = iter(SYMBOL.findall(pattern))
        self._advance()
        return self._choice()(end)

    def _advance(self) -> str:
        """The next symbol, which is taken."""
        taken, self._next = self._next, next(self._symbols, "")
        return taken

    def _choice(self) -> Part:
        parts = [self._sequence()]
        while self._next == "|":
            self._advance()
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else lambda out: self._fork(part(out) for part in parts)

    def _sequence(self) -> Part:
        parts: list[Part] = []
        while self._next not in ("", "|", ")"):
            part = self._atom()
            while self._next and (self._next in TIMES or self._next.startswith("{")):
                part = self._repeated(part, self._advance())
            parts.insert(0, part)

        def build(out: int) -> int:
            for part in parts:
                out = part(out)
            return out

        return build

    def _atom(self) -> Part:
        symbol = self._advance()
        if symbol == "(":
            part = self._choice()
            self._advance()
            return part
        number = self.classes.setdefault(symbol, len(self.classes))

        def build(out: int) -> int:
            place = self._place()
            self.moves[place] = number, out
            return place

        return build

    def _repeated(self, part: Part, times: str) -> Part:
        if times in TIMES:
            low, high = TIMES[times]
        else:
            first, _, last = times[1:-1].partition(",")
            low, high = int(first), int(last or first)

        def build(out: int) -> int:
            place = out
            if high is None:
                place = self._place()
                self._ways[place] = part(place), out
            for _ in range((high or low) - low):
                place = self._fork((part(place), out))
            for _ in range(low):
                place = part(place)
            return place

        return build


class _State(dict[str, "_State | None"]):
    """A state of the deterministic automaton: the next one by character, found out when it is first asked for.

    rule: the rule that is matched where the state is reached, if any.
    alive: whether any character leads further.
    """

    def __init__(self, lexer: Lexer, number: int, places: Places, rule: int | None, alive: bool) -> None:
        self.lexer, self.number, self.places, self.rule, self.alive = lexer, number, places, rule, alive

    def __missing__(self, character: str) -> _State | None:
        self[character] = found = self.lexer.follow(self.places, character)
        return found


class _Characters(dict[int, str]):
    """By character, one that all rules treat alike."""

    def __init__(self, tests: Iterable[Test]) -> None:
        self._tests = tuple(tests)
        self._alike: dict[Places, str] = {}

    def classes(self, character: str) -> Places:
        return frozenset(number for number, test in enumerate(self._tests) if test(character))

    def __missing__(self, code: int) -> str:
        self[code] = found = self._alike.setdefault(self.classes(chr(code)), chr(code))
        return found


class Lexer:
    r"""Finds the longest matches of rules.

    Args:
        patterns: of the rules, as `re` writes them, made of characters (whatever their case), classes (as written),
            groups, `|`, `?`, `*`, `+`, `{m}` and `{m,n}`. Some rule must match every character.
        classes: tests of a character by the escape (such as `\l`) that stands for them in the patterns.
    """

    def __init__(self, patterns: Iterable[str], classes: Mapping[str, Test]) -> None:
        self._patterns = _Patterns(patterns)
        self._characters = _Characters(
            classes.get(symbol) or re.compile(symbol, 0 if symbol[0] == "[" else re.IGNORECASE).match
            for symbol in self._patterns.classes
        )
        self._classes: dict[str, Places] = {}
        self._states: dict[Places, _State] = {}
        self._start = self._state(self._patterns.reach(self._patterns.start))

    def scan(self, text: str) -> Scan:
        """A text, to find matches in."""
        return Scan(self._start, text if text.isascii() else text.translate(self._characters))

    def follow(self, places: Places, character: str) -> _State | None:
        """The state after this character, if any rule goes on."""
        if character not in self._classes:
            self._classes[character] = self._characters.classes(character)
        classes, moves = self._classes[character], self._patterns.moves
        targets = [moves[place][1] for place in places if place in moves and moves[place][0] in classes]
        return self._state(frozenset(chain(*map(self._patterns.reach, targets)))) if targets else None

    def _state(self, places: Places) -> _State:
        if places not in self._states:
            rules, moves = self._patterns.rules, self._patterns.moves
            rule = min((rules[place] for place in places if place in rules), default=None)
            self._states[places] = _State(self, len(self._states), places, rule, not moves.keys().isdisjoint(places))
        return self._states[places]


class Scan:
    """A text in which matches are found.

    Searches that went past the match that they found are remembered, so that no later one goes the same way again
    (Reps, 1998): a rule that hopes for a distant character would else make long texts take quadratic time.
    """

    def __init__(self, start: _State, characters: str) -> None:
        self._start, self._characters = start, characters
        self._failed: set[tuple[int, int]] = set()

    def match(self, start: int) -> Match:
        """The longest match that starts here, before the text's end."""
        characters, state, rule, end = self._characters, self._start, None, start
        passed: list[tuple[int, int]] = []
        ended = False
        for place in range(start, len(characters)):
            if place % LANDMARK == 0:
                mark = state.number, place
                if mark in self._failed:
                    break
                passed.append(mark)
            following = state[characters[place]]
            if following is None:
                break
            state = following
            if state.rule is not None:
                rule, end = state.rule, place + 1
                passed = []
        else:
            ended = state.alive
        self._failed.update(passed)
        assert rule is not None
        return Match(rule, end, ended)
