"""The loopback server without the SDK: what it answers, refuses, and notes as unknown."""

from __future__ import annotations

import base64
import itertools
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from wandb_server import API_KEY, Server, serve
from wandb_server.execution import checked
from wandb_server.filters import matches

AUTHORIZATION = "Basic " + base64.b64encode(f"api:{API_KEY}".encode()).decode()

# The operations of the SDK that the server leaves out: administration, and the search over registries.
LEFT_OUT = """
    ADD_ARTIFACT_COLLECTION_TAGS CREATE_INVITE CREATE_REGISTRY_MEMBERS CREATE_SERVICE_ACCOUNT CREATE_TEAM
    CREATE_USER_FROM_ADMIN DELETE_API_KEY DELETE_ARTIFACT_COLLECTION_TAGS DELETE_INVITE DELETE_REGISTRY
    DELETE_REGISTRY_MEMBERS FETCH_ADVANCED_REGISTRY_FEATURES FETCH_REGISTRIES GENERATE_API_KEY GET_TEAM_ENTITY
    REGISTRY_COLLECTIONS REGISTRY_TEAM_MEMBERS REGISTRY_USER_MEMBERS REGISTRY_VERSIONS RENAME_REGISTRY SEARCH_USERS
    UPDATE_ARTIFACT_PORTFOLIO UPDATE_ARTIFACT_SEQUENCE UPDATE_ARTIFACT_SEQUENCE_TYPE UPDATE_TEAM_REGISTRY_ROLE
    UPDATE_USER_REGISTRY_ROLE
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


def ask(server: Server, query: str, **variables: Any) -> tuple[int, dict[str, Any]]:
    """A GraphQL request as it is; the status and the answer."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{server.url}/graphql", body, {"Authorization": AUTHORIZATION})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


# GraphQL


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("query Broken { viewer {", "Syntax Error"),
        ("query Odd { viewer { shoeSize } }", "Cannot query field 'shoeSize' on type 'User'."),
        ("query Odd { project(colour: 1) { id } }", "Unknown argument 'colour'"),
        ("mutation Odd { makeCoffee(input: {}) { success } }", "Cannot query field 'makeCoffee'"),
        ("mutation Odd { stopRun(input: {name: 1}) { success } }", "unknown field 'name'"),
    ],
)
def test_what_is_not_modelled_is_an_error_and_is_noted(server: Server, query: str, said: str) -> None:
    status, answered = ask(server, query)
    assert status == 400
    assert said in json.dumps(answered["errors"])
    assert any(said in note for note in server.unknown)


def test_a_variable_that_is_not_modelled_is_an_error_and_is_noted(server: Server) -> None:
    query = "mutation Odd($input: CommitArtifactInput!) { commitArtifact(input: $input) { artifact { id } } }"
    _, answered = ask(server, query, input={"artifactID": "x", "colour": "red"})
    assert "colour" in answered["errors"][0]["message"]
    assert any("colour" in note for note in server.unknown)


def test_what_is_missing_is_refused_and_not_noted(server: Server) -> None:
    status, answered = ask(server, 'mutation M { commitArtifact(input: {artifactID: "x"}) { artifact { id } } }')
    assert (status, answered["data"]) == (404, {"commitArtifact": None})
    assert "artifact x not found" in answered["errors"][0]["message"]
    assert not server.unknown


def test_an_entity_that_is_not_there_is_refused(server: Server) -> None:
    status, answered = ask(server, 'mutation M { upsertBucket(input: {entityName: "nobody"}) { inserted } }')
    assert (status, answered["errors"][0]["message"]) == (404, "entity nobody not found")
    assert ask(server, '{ project(entityName: "nobody", name: "p") { id } entity(name: "nobody") { id } }') == (
        200, {"data": {"project": None, "entity": None}},
    )  # fmt: skip
    assert not server.unknown


def test_what_is_no_json_or_has_no_query_is_refused_and_noted(server: Server) -> None:
    for body in (b"not json", b"[]", b'{"variables": {}}'):
        request = urllib.request.Request(f"{server.url}/graphql", body, {"Authorization": AUTHORIZATION})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        caught.value.close()
        assert caught.value.code == 400
    assert all("no query" in note for note in server.unknown)
    assert server.unknown


def test_a_body_that_breaks_off_is_not_kept(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"PUT /storage/runs/team/p/r/f HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert (server.state.blobs, server.unknown) == ({}, set())


def test_a_wrong_key_and_an_unknown_path_are_refused(server: Server) -> None:
    for path, headers, code in [("/graphql", {}, 401), ("/nonsense", {"Authorization": AUTHORIZATION}, 404)]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(server.url + path, b'{"query": "{a}"}', headers))
        caught.value.close()
        assert caught.value.code == code
    assert server.unknown == {"POST /nonsense"}


def test_a_part_of_a_blob_can_be_had(server: Server) -> None:
    server.state.blobs["file"] = bytes(range(100))
    for asked, expected in [("bytes=10-19", bytes(range(10, 20))), ("bytes=90-", bytes(range(90, 100)))]:
        request = urllib.request.Request(f"{server.url}/storage/file", None, {"Range": asked})
        with urllib.request.urlopen(request) as part:
            assert (part.status, part.read()) == (206, expected)


def test_the_sdk_asks_for_little_that_is_left_out() -> None:
    from wandb.apis._generated import operations as public
    from wandb.sdk.artifacts._generated import operations as artifacts

    texts = {
        name.removesuffix("_GQL"): getattr(module, name) for module in (public, artifacts) for name in module.__all__
    }
    assert {name for name, text in texts.items() if checked(text)[1]} == set(LEFT_OUT.split())


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True), ({"state": "finished"}, True), ({"state": {"$ne": "finished"}}, False),
        ({"config.lr": 0.1}, True), ({"config.lr.value": {"$gt": 0.1}}, False),
        ({"config.net.depth": {"$lte": 2}}, True), ({"config.absent": None}, True),
        ({"config.absent": {"$exists": True}}, False), ({"tags": "b"}, True),
        ({"tags": {"$in": ["c", "d"]}}, False), ({"tags": {"$nin": ["c"]}}, True), ({"name": {"$regex": "^ab"}}, True),
        ({"summary_metrics.loss/a.b": {"$lt": 1}}, True), ({"summary_metrics.loss/a.b": {"$gt": "x"}}, False),
        ({"$or": [{"state": "failed"}, {"name": "abc"}]}, True), ({"$and": [{"name": "abc"}, {"state": "x"}]}, False),
        ({"$not": {"name": "abc"}}, False), ({"config.lr": {"$not": {"$gt": 1}}}, True),
    ],
)  # fmt: skip
def test_filters_hold_as_in_mongodb(filters: dict[str, Any], passes: bool) -> None:
    fields = {"name": "abc", "state": "finished", "tags": ["a", "b"], "summary_metrics": {"loss/a.b": 0.5},
              "config": {"lr": 0.1, "net": {"depth": 2}}}  # fmt: skip
    assert matches(fields, filters) is passes


@pytest.mark.parametrize("filters", [{"state": {"$like": "x"}}, {"shoe": 1}])
def test_filters_that_are_not_modelled_are_no_silent_pass(filters: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        matches({"state": "x"}, filters)


# Sweeps and queues, without the SDK

UPSERT_SWEEP = "mutation U($config: String) { upsertSweep(input: {config: $config}) { sweep { id name } } }"
AGENT = 'mutation A($sweep: String!) { createAgent(input: {host: "h", sweep: $sweep}) { agent { id } } }'
BEAT = "mutation B($id: ID!, $run: JSONString) { agentHeartbeat(input: {id: $id, runState: $run}) { commands } }"


def beat(server: Server, agent: str, **running: bool) -> list[dict[str, Any]]:
    _, answered = ask(server, BEAT, id=agent, run=json.dumps(running))
    return json.loads(answered["data"]["agentHeartbeat"]["commands"])


def agents_of(server: Server, config: dict[str, Any], count: int) -> list[str]:
    sweep = ask(server, UPSERT_SWEEP, config=json.dumps(config))[1]["data"]["upsertSweep"]["sweep"]["name"]
    return [ask(server, AGENT, sweep=sweep)[1]["data"]["createAgent"]["agent"]["id"] for _ in range(count)]


def test_two_agents_share_a_grid_and_each_point_is_given_once(server: Server) -> None:
    server.project = "uncategorized"
    parameters = {"a": {"values": [1, 2]}, "b": {"min": 3, "max": 5}, "c": {"value": "x"}}
    agents = agents_of(server, {"method": "grid", "parameters": parameters}, 2)
    (first,) = beat(server, agents[0])
    assert beat(server, agents[0], **{first["run_id"]: True}) == [], "one run at a time"
    given = [first]
    for agent in itertools.cycle(agents):
        (command,) = beat(server, agent)
        if command["type"] == "exit":
            break
        given.append(command)
    points = [tuple(command["args"][name]["value"] for name in "abc") for command in given]
    assert sorted(points) == sorted(itertools.product([1, 2], [3, 4, 5], ["x"]))
    assert {run.name for run in server.runs()} == {command["run_id"] for command in given}


def test_a_random_search_stays_in_its_ranges_and_ends_at_its_cap(server: Server) -> None:
    parameters = {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, "n": {"min": 1, "max": 3},
        "net": {"parameters": {"drop": {"min": 0.0, "max": 0.5}}},
        "q": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
    }  # fmt: skip
    (agent,) = agents_of(server, {"method": "random", "run_cap": 40, "parameters": parameters}, 1)
    commands = [beat(server, agent)[0] for _ in range(41)]
    assert [command["type"] for command in commands] == ["run"] * 40 + ["exit"]
    points = [{name: item["value"] for name, item in command["args"].items()} for command in commands[:-1]]
    assert all(1e-4 <= point["lr"] <= 1e-1 and 0 <= point["net"]["drop"] <= 0.5 for point in points)
    assert {point["n"] for point in points} == {1, 2, 3}
    assert {point["q"] for point in points} <= {0, 0.25, 0.5, 0.75, 1}
    assert sum(point["lr"] < 1e-2 for point in points) > 20, "two of three decades"


QUEUE = 'entityName: "team", projectName: "p", queueName: "q"'
CREATE = f"mutation C {{ createRunQueue(input: {{{QUEUE}, access: PROJECT, prioritizationMode: V0}}) {{ queueID }} }}"
PUSH = f"""mutation P($spec: JSONString!, $priority: Int) {{
    pushToRunQueueByName(input: {{{QUEUE}, runSpec: $spec, priority: $priority}}) {{ runQueueItemId }} }}"""
POP = f"mutation P {{ popFromRunQueue(input: {{{QUEUE}}}) {{ runQueueItemId runSpec }} }}"
ACK = 'mutation A($id: ID!) { ackRunQueueItem(input: {runQueueItemId: $id, runName: "r"}) { success } }'


def test_a_queue_gives_each_item_once_the_urgent_first(server: Server) -> None:
    ask(server, CREATE)
    for name, priority in [("late", None), ("first", 0), ("last", 3)]:
        ask(server, PUSH, spec=json.dumps({"name": name}), priority=priority)
    popped = [ask(server, POP)[1]["data"]["popFromRunQueue"] for _ in range(4)]
    assert [item and item["runSpec"]["name"] for item in popped] == ["first", "late", "last", None]
    answers = [ask(server, ACK, id=popped[0]["runQueueItemId"])[1]["data"] for _ in range(2)]
    assert [answered["ackRunQueueItem"]["success"] for answered in answers] == [True, False]
    states = [(item.state, item.associated_run_id) for item in server.items("q")]
    assert states == [("LEASED", None), ("CLAIMED", "r"), ("LEASED", None)]
