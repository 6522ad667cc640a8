"""Sweeps: the server's search (grid; random, which stands in for bayes), and the agents that ask it for runs."""

from __future__ import annotations

import itertools
import json
import math
import random
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from .nodes import Input, Node, Refused, mutation, now, page

if TYPE_CHECKING:
    from .projects import Project
    from .runs import Run
    from .state import State


class Sweep(Node):
    typename = "Sweep"
    early_stop_job_running = False
    controller = controller_run_name = scheduler = None

    def __init__(self, server: State, project: Project, config: str) -> None:
        super().__init__(server)
        self.name = uuid.uuid4().hex[:8]
        self.project = project
        self.config = config
        self.state = "PENDING"
        self.description: str | None = None
        self.display_name: str | None = None
        self.heartbeat_at = self.created_at
        self.points = search(self.settings())
        self.given = 0
        server.sweeps[self.id] = self

    def settings(self) -> dict[str, Any]:
        return yaml.safe_load(self.config)

    @property
    def method(self) -> str:
        return self.settings()["method"]

    def own_runs(self) -> list[Run]:
        return [run for run in self.project.runs_by_name.values() if run.sweep_name == self.name]

    def runs(self, **window: Any) -> dict[str, Any]:
        return page(self.own_runs(), **window)

    def run_count(self) -> int:
        return len(self.own_runs())

    def run_count_expected(self) -> int | None:
        settings = self.settings()
        return len(list(grid(settings["parameters"]))) if self.method == "grid" else settings.get("run_cap")

    def best_loss(self) -> float | None:
        metric = self.settings().get("metric") or {}
        values = [json.loads(run.summary_metrics).get(metric.get("name")) for run in self.own_runs()]
        values = [value for value in values if isinstance(value, (int, float))]
        best = max if metric.get("goal") == "maximize" else min
        return best(values) if values else None

    def _agents(self) -> list[Agent]:
        return [agent for agent in self.server.agents.values() if agent.sweep is self]

    def agents(self) -> dict[str, Any]:
        return page(self._agents())

    def agent(self, agent_name: str) -> Agent | None:
        return next((agent for agent in self._agents() if agent_name in (agent.name, agent.id)), None)

    def next_command(self, agent: Agent, running: dict[str, bool]) -> list[dict[str, Any]]:
        """What the agent is to do. One that still runs something is told to end only what was stopped."""
        stopped = [run for run in self.own_runs() if run.should_stop and run.name in running]
        if stopped:
            return [{"type": "stop", "run_id": stopped[0].name}]
        if self.state in ("CANCELED", "STOPPED"):
            return [{"type": "exit"}]
        if running or self.state == "PAUSED":
            return []
        cap = self.settings().get("run_cap")
        point = None if self.state == "FINISHED" or (cap and self.given >= cap) else next(self.points, None)
        if point is None:
            self.state = "FINISHED"
            return [{"type": "exit"}]
        self.given += 1
        self.state = "RUNNING"
        run = self.server.run(self.project.entity.name, self.project.name, uuid.uuid4().hex[:8])
        run.sweep_name, run.agent_id, run.state = self.name, agent.id, "pending"
        return [{"type": "run", "run_id": run.name, "program": self.settings().get("program"), "args": point}]


class Agent(Node):
    typename = "Agent"
    state = "RUNNING"

    def __init__(self, server: State, sweep: Sweep, host: str) -> None:
        super().__init__(server)
        self.name = f"agent-{self.serial}"
        self.sweep = sweep
        self.host = host
        self.heartbeat_at = self.created_at
        server.agents[self.id] = self

    def own_runs(self) -> list[Run]:
        return [run for run in self.sweep.own_runs() if run.agent_id == self.id]

    def total_runs(self) -> int:
        return len(self.own_runs())

    def runs(self, **window: Any) -> dict[str, Any]:
        return page(self.own_runs(), window.get("first"), window.get("after"))


def search(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if settings["method"] == "grid":
        return grid(settings["parameters"])
    draws = random.Random(settings.get("seed", 0))
    return (draw(draws, settings["parameters"]) for _ in itertools.count())


def grid(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every point, the last parameter moving first; each as `{"name": {"value": …}}`."""
    choices = []
    for name, spec in parameters.items():
        if "parameters" in spec:
            values = [plain(point) for point in grid(spec["parameters"])]
        elif "values" in spec or "value" in spec:
            values = spec.get("values", [spec.get("value")])
        elif {"min", "max"} <= set(spec) and all(isinstance(spec[end], int) for end in ("min", "max")):
            values = list(range(spec["min"], spec["max"] + 1))
        else:
            raise Refused(f"invalid sweep config: parameter {name} has no values for a grid search")
        choices.append([(name, {"value": value}) for value in values])
    return (dict(point) for point in itertools.product(*choices))


def plain(point: dict[str, Any]) -> dict[str, Any]:
    return {name: item["value"] for name, item in point.items()}


def draw(draws: random.Random, parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: {"value": _draw_one(draws, spec)} for name, spec in parameters.items()}


def _draw_one(draws: random.Random, spec: dict[str, Any]) -> Any:
    if "parameters" in spec:
        return plain(draw(draws, spec["parameters"]))
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return draws.choices(spec["values"], spec.get("probabilities"))[0]
    low, high = spec.get("min", 0.0), spec.get("max", 1.0)
    whole = isinstance(low, int) and isinstance(high, int)
    kind = spec.get("distribution") or ("int_uniform" if whole else "uniform")
    if kind == "int_uniform":
        return draws.randint(low, high)
    if kind in ("normal", "log_normal"):
        value = draws.gauss(spec.get("mu", 0.0), spec.get("sigma", 1.0))
        return value if kind == "normal" else math.exp(value)
    if kind.endswith("log_uniform_values"):
        value = math.exp(draws.uniform(math.log(low), math.log(high)))
    elif kind.endswith("log_uniform"):
        value = math.exp(draws.uniform(low, high))
    elif kind in ("uniform", "q_uniform"):
        value = draws.uniform(low, high)
    else:
        raise KeyError(f"distribution {kind} is not modelled")
    step = spec.get("q", 1.0)
    return round(value / step) * step if kind.startswith("q_") else value


@mutation
def upsert_sweep(state: State, input: Input) -> dict[str, Any]:
    if input.id:
        sweep = state.sweeps.get(input.id)
        if sweep is None:
            raise Refused(f"sweep {input.id} not found", 404)
        sweep.config = input.config or sweep.config
    else:
        settings = yaml.safe_load(input.config)
        if not isinstance(settings, dict) or "method" not in settings or not settings.get("parameters"):
            raise Refused("invalid sweep config: it needs a method and parameters")
        sweep = Sweep(state, state.project(input.entity_name, input.project_name), input.config)
    for key in ("state", "description", "display_name", "controller", "scheduler"):
        if input.get(key) is not None:
            setattr(sweep, key, input[key])
    sweep.updated_at = now()
    return {"sweep": sweep, "configValidationWarnings": []}


@mutation
def create_agent(state: State, input: Input) -> dict[str, Agent]:
    project = state.entity(input.entity_name).project(input.project_name)
    sweep = project.sweep(input.sweep) if project else None
    if sweep is None:
        raise Refused(f"sweep {input.entity_name}/{input.project_name}/{input.sweep} not found", 404)
    return {"agent": Agent(state, sweep, input.host)}


@mutation
def agent_heartbeat(state: State, input: Input) -> dict[str, Any]:
    agent = state.agents.get(input.id)
    if agent is None:
        raise Refused(f"agent {input.id} not found", 404)
    agent.heartbeat_at = agent.sweep.heartbeat_at = now()
    running = json.loads(input.run_state or "{}")
    return {"agent": agent, "commands": json.dumps(agent.sweep.next_command(agent, running))}
