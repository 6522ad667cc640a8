"""What comes before what, held against counting all orders."""

from __future__ import annotations

from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report.pipeline import Place, _needed, _places
from training.pipelines.graph import after, cycle, in_order

NAMES = "abcde"
ANY = st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=1).map(
    lambda graph: {name: sorted(before & graph.keys()) for name, before in graph.items()}
)


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, list[str]]:
    names = draw(st.permutations(NAMES))
    return {
        name: sorted(draw(st.sets(st.sampled_from(names[:place])))) if place else [] for place, name in enumerate(names)
    }


def orders(graph: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """All orders in which nothing comes before what it needs."""
    return [
        order
        for order in permutations(graph)
        if all(order.index(other) < order.index(name) for name in graph for other in graph[name])
    ]


def reachable(graph: dict[str, list[str]], start: str) -> set[str]:
    """What waits for a name, by walking all ways."""
    found, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in graph if name in graph[other]]
    return found


@settings(max_examples=30, deadline=None)
@given(ANY)
def test_a_cycle_is_found_where_no_order_is_possible(graph: dict[str, list[str]]) -> None:
    ring = cycle(graph)
    assert bool(ring) == (not orders(graph))
    if ring:
        assert ring[0] == ring[-1]
        assert all(other in graph[name] for name, other in pairwise(ring))


@settings(max_examples=30, deadline=None)
@given(acyclic())
def test_the_order_is_the_first_possible_in_the_order_of_the_file(graph: dict[str, list[str]]) -> None:
    place = {name: number for number, name in enumerate(graph)}
    assert tuple(in_order(graph)) == min(orders(graph), key=lambda order: [place[name] for name in order])


@settings(max_examples=30, deadline=None)
@given(acyclic(), st.sampled_from(NAMES))
def test_what_comes_after_a_stage_is_what_can_be_reached(graph: dict[str, list[str]], name: str) -> None:
    assert after(graph, name) == reachable(graph, name)


@settings(max_examples=30, deadline=None)
@given(acyclic())
def test_the_picture_leaves_out_lines_that_others_imply_and_no_other(graph: dict[str, list[str]]) -> None:
    kept: dict[str, list[str]] = {name: [] for name in graph}
    for before, name in _needed(graph):
        kept[name].append(before)
    assert all(reachable(kept, name) == reachable(graph, name) for name in graph)
    for before, name in _needed(graph):
        fewer = {other: [one for one in needs if (one, other) != (before, name)] for other, needs in kept.items()}
        assert name not in reachable(fewer, before)


@settings(max_examples=30, deadline=None)
@given(acyclic())
def test_no_two_things_stand_in_one_place_of_the_picture(graph: dict[str, list[str]]) -> None:
    places: list[Place] = _places(graph)
    assert len({(place.level, place.row) for place in places}) == len(places)
    level = {place.name: place.level for place in places if not place.to}
    assert level.keys() == graph.keys()
    assert all(level[before] < level[name] for name in graph for before in graph[name])
    passed = {(place.name, place.to, place.level) for place in places if place.to}
    assert passed == {
        (before, name, between) for before, name in _needed(graph) for between in range(level[before] + 1, level[name])
    }
