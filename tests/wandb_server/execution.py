"""GraphQL requests against the schema: what it does not hold is an error in the answer and noted as unknown."""

from __future__ import annotations

import re
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from . import launch, publishing, runs, sweeps  # noqa: F401  (each brings its mutations)
from .nodes import MUTATIONS, Input, Refused, snake
from .state import State


@cache
def schema() -> GraphQLSchema:
    text = (Path(__file__).parent / "schema.graphql").read_text("utf-8")
    for name in sorted(set(re.findall(r"\b(\w+)Connection\b", text)) - {"Name"}):
        text += f"type {name}Connection {{ totalCount: Int!  pageInfo: PageInfo!  edges: [{name}Edge!]! }}\n"
        version = "  version: String" if name == "Artifact" else ""
        text += f"type {name}Edge {{ node: {name}  cursor: String!{version} }}\n"
    text = re.sub(r"(?m)^input \w+ \{", r"\g<0> clientMutationId: String ", text)  # every input may carry one
    return build_schema(text + "type PageInfo { endCursor: String  hasNextPage: Boolean! }\n")


@cache
def checked(query: str) -> tuple[DocumentNode | None, list[GraphQLError]]:
    """The parsed query, or why it is none of this schema's."""
    try:
        document = parse(query)
    except GraphQLError as error:
        return None, [error]
    return document, validate(schema(), document)


def answer(state: State, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the body for one request: `query`, `variables`, `operationName`."""
    if not isinstance(request.get("query"), str):
        state.note_unknown("POST /graphql", f"no query in {sorted(request)}")
        return 400, {"errors": [{"message": "a request needs a query"}]}
    document, errors = checked(request["query"])
    if document is None or errors:
        state.note_unknown(operation(request["query"]), *(error.message for error in errors))
        return 400, {"errors": [error.formatted for error in errors]}
    with state.lock:
        result = execute_sync(
            schema(), document, Root(state), variable_values=request.get("variables") or {},
            operation_name=request.get("operationName") or None, field_resolver=resolve,
            type_resolver=lambda value, *_: value.typename,
        )  # fmt: skip
    status = 200
    for error in result.errors or ():
        if isinstance(error.original_error, Refused):
            status = max(status, error.original_error.status)
        else:  # a variable that the schema does not take, or a defect of this server
            where = traceback.format_tb(error.original_error.__traceback__)[-1:] if error.original_error else []
            state.note_unknown(operation(request["query"]), error.message, *where)
    return status, result.formatted


def operation(query: str) -> str:
    """The operation's name, also of a query that does not parse."""
    found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
    return found[1] if found else "?"


class Root:
    def __init__(self, state: State) -> None:
        self.server = state


def resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    name = snake(info.field_name)
    if isinstance(source, Root):
        if info.parent_type.name == "Mutation":
            return MUTATIONS[name](source.server, named(arguments["input"]))
        source = source.server.query
    value = source[info.field_name] if isinstance(source, dict) else getattr(source, name)
    return value(**named(arguments)) if callable(value) else value


def named(value: Any) -> Any:
    """Inputs and arguments under the names that Python gives them."""
    if isinstance(value, dict):
        return Input({snake(key): named(item) for key, item in value.items()})
    return [named(item) for item in value] if isinstance(value, list) else value
