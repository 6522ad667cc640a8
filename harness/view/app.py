"""The addresses, and the page that each shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from harness.errors import DataError, HarnessError, StoreError, UnknownName, UsageError
from harness.report.content import Report
from harness.report.document import run_document
from harness.store import COMPLETE, Run
from harness.view.overview import PAGE, STATES, Query, Table, comparable
from harness.view.pages import assets, render, stream
from harness.view.pictures import board_of
from harness.view.streaming import sent
from harness.view.trends import HEIGHT, PER_LINE, Wish
from harness.view.workspace import Workspace, why_apart

STATUS: Mapping[type[HarnessError], int] = {UnknownName: 404, DataError: 404, UsageError: 400, StoreError: 503}
PLACES = {"run": "/runs/", "verdict": "/verdicts/", "checkpoint": "/checkpoints/"}
"""Where what an UnknownName suggests can be looked at, by its kind."""


def make_app(workspace: Workspace, is_ending: Callable[[], bool] = lambda: False) -> Starlette:
    """The application. It only reads.

    Args:
        is_ending: whether the server is to end, so that pages that take long are given up.
    """
    pages = _Pages(workspace, is_ending)
    return Starlette(
        routes=[
            Route("/", pages.runs),
            Route("/runs/{id}", pages.run),
            Route("/runs/{id}/picture", pages.picture),
            Route("/compare", pages.compare),
            Route("/trends", pages.trends),
            Route("/verdicts", pages.verdicts),
            Route("/verdicts/{id}", pages.verdict),
            Route("/checkpoints", pages.checkpoints),
            Route("/checkpoints/{name:path}", pages.checkpoint),
            Route("/api/runs", pages.api_runs),
            Route("/api/runs/{id}", pages.api_run),
            Route("/api/progress", pages.api_progress),
            Route("/static/{name}", pages.static),
        ],
        exception_handlers={HarnessError: _failed, HTTPException: _failed, Exception: _failed},
    )


class _Pages:
    """One method an address. Each runs on a thread of its own."""

    def __init__(self, workspace: Workspace, is_ending: Callable[[], bool]) -> None:
        self._workspace = workspace
        self._is_ending = is_ending

    # --- runs ---

    def runs(self, request: Request) -> Response:
        table, against = self._table(request)
        home = self._workspace.home
        return _page("runs.html.j2", here="runs", table=table, against=against, states=STATES, home=home)

    def _table(self, request: Request) -> tuple[Table, Run | None]:
        """The page of the table that is asked for, and the run that those in it are to be compared with."""
        query = Query.of(request.query_params)
        against = self._workspace.run(query.against) if query.against else None
        return self._workspace.overview.table(query, against), against

    def run(self, request: Request) -> Response:
        run = self._workspace.run(request.path_params["id"])
        if run.id != request.path_params["id"]:
            return RedirectResponse(f"/runs/{run.id}")
        others = len(comparable(self._workspace.reporter.store, run)) if run.status == COMPLETE else 0
        return self._report(request, [run], others=others)

    def compare(self, request: Request) -> Response:
        given = request.query_params
        if not given.get("a") or not given.get("b"):
            raise UsageError("two runs are compared at /compare?a=ID&b=ID; choose them in the table of runs")
        a, b = self._workspace.run(given["a"]), self._workspace.run(given["b"])
        if a.id == b.id:
            raise UsageError(f"run {a.id} cannot be compared with itself; choose another one in the table of runs")
        return self._report(request, [a, b], apart=why_apart(a, b))

    def _report(self, request: Request, runs: Sequence[Run], **more: Any) -> Response:
        """The report of runs. What is quick to say is there before the rest is read."""
        if request.method == "HEAD":
            return HTMLResponse()
        workspace = self._workspace
        context = {
            "here": "runs", "unread": Report(tuple(map(board_of, runs))), "shown": runs, "complete": COMPLETE,
            "others": 0, "apart": "", **more,
            "read": partial(workspace.report, runs), "browse": workspace.samples,
            "asked": workspace.reporter.store.asked,
        }  # fmt: skip
        parts = sent(stream("report.html.j2", context), self._is_ending)
        return StreamingResponse(parts, media_type="text/html")

    def picture(self, request: Request) -> Response:
        sample, number = request.query_params.get("sample", ""), request.query_params.get("number", "0")
        if not number.isdecimal() or len(number) > 4:
            raise UsageError(f"picture number {number!r}: not a number")
        content = self._workspace.shelf.picture(request.path_params["id"], sample, int(number))
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=600"})

    # --- trends, verdicts, checkpoints ---

    def trends(self, request: Request) -> Response:
        trend = self._workspace.trend(Wish.of(request.query_params))
        return _page(
            "trends.html.j2", here="trends", trend=trend, aliases=self._workspace.aliases(), height=HEIGHT,
            per_line=PER_LINE,
        )  # fmt: skip

    def verdicts(self, request: Request) -> Response:
        given = request.query_params
        kept = self._workspace.reporter.verdicts.of()
        policy, outcome = given.get("policy", ""), given.get("verdict", "")
        found = [
            item for item in kept if policy in (item.verdict.policy, "") and outcome in (item.verdict.verdict, "")
        ]  # fmt: skip
        pages = max(1, math.ceil(len(found) / PAGE))
        page = min(Query.of(given).page, pages)
        return _page(
            "verdicts.html.j2", here="verdicts", kept=found[(page - 1) * PAGE : page * PAGE], found=len(found),
            total=len(kept), page=page, pages=pages, first=1 + (page - 1) * PAGE, policy=policy, outcome=outcome,
            at=lambda page: "/verdicts?" + urlencode({"policy": policy, "verdict": outcome, "page": page}),
            policies=sorted({item.verdict.policy for item in kept}),
        )  # fmt: skip

    def verdict(self, request: Request) -> Response:
        kept = self._workspace.verdict(request.path_params["id"])
        return _page("verdict.html.j2", here="verdicts", verdict=kept[0].verdict, kept=kept)

    def checkpoints(self, request: Request) -> Response:
        return _page("checkpoints.html.j2", here="checkpoints", names=self._workspace.names())

    def checkpoint(self, request: Request) -> Response:
        name = request.path_params["name"]
        versions, moves = self._workspace.checkpoint(name)
        return _page("checkpoint.html.j2", here="checkpoints", name=name, versions=versions, moves=moves)

    # --- for programs ---

    def api_runs(self, request: Request) -> Response:
        table, _ = self._table(request)
        rows = [row.document() for row in table.rows]
        return JSONResponse({"found": table.found, "page": table.query.page, "pages": table.pages, "runs": rows})

    def api_run(self, request: Request) -> Response:
        store, run = self._workspace.reporter.store, self._workspace.run(request.path_params["id"])
        protocol = request.query_params.get("protocol") or next(iter(store.protocols(run)), "")
        return JSONResponse(run_document(store, run, protocol))

    def api_progress(self, request: Request) -> Response:
        wanted, store = set(request.query_params.getlist("run")[:PAGE]), self._workspace.reporter.store
        return JSONResponse({
            run.id: {"status": run.status, "asked": store.asked(run), "n": run.n}
            for run in store.runs() if run.id in wanted
        })  # fmt: skip

    def static(self, request: Request) -> Response:
        asset = assets().get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        # The address has the content's hash.
        kept = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.type, headers=kept)


def _page(template: str, status: int = 200, **context: Any) -> Response:
    return HTMLResponse(render(template, context), status)


def _failed(request: Request, error: Exception) -> Response:
    """What went wrong, as a page, or as JSON for programs. The traceback of a defect is logged by the server."""
    suggestions: Sequence[str] = ()
    if isinstance(error, HTTPException):
        status, message = error.status_code, f"There is no page {request.url.path!r}."
    elif isinstance(error, HarnessError):
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        message = str(error)
        suggestions = error.suggestions if isinstance(error, UnknownName) else ()
    else:
        status, message = 500, f"This is a defect of ours: {type(error).__name__}: {error}"
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": message}, status)
    place = PLACES.get(error.kind) if isinstance(error, UnknownName) else None
    links = {} if place is None else {name: place + quote(name, safe="") for name in suggestions}
    heading = HTTPStatus(status).phrase
    return _page("error.html.j2", status, here="", heading=heading, message=message, links=links)
