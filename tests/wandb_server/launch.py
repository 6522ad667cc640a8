"""Launch: queues with their resource configs, the items in them, and the agents that take them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .nodes import Input, Node, Refused, mutation, now, page

if TYPE_CHECKING:
    from .projects import Project
    from .state import State


class ResourceConfig(Node):
    typename = "ResourceConfig"

    def __init__(self, server: State, resource: str, config: str) -> None:
        super().__init__(server)
        self.resource = resource
        self.config = json.loads(config)
        self.template_variables: list[Any] = []
        server.resource_configs[self.id] = self


class Queue(Node):
    typename = "RunQueue"
    created_by = "tester"
    external_links = None

    def __init__(self, server: State, project: Project, name: str, config: ResourceConfig | None) -> None:
        super().__init__(server)
        self.project = project
        self.name = name
        self.config = config
        self.access = "PROJECT"
        self.prioritization_mode: str | None = None
        self.items: list[QueueItem] = []
        server.queues[self.id] = self

    @property
    def default_resource_config_id(self) -> str | None:
        return self.config.id if self.config else None

    def run_queue_items(self, first: int | None = None) -> dict[str, Any]:
        return page(self.items, first)

    def run_queue_item(self, id: str) -> QueueItem | None:
        return next((item for item in self.items if item.id == id), None)


class QueueItem(Node):
    """One job to run: `state` goes PENDING, LEASED (popped), CLAIMED (acknowledged), or FAILED with a message."""

    typename = "RunQueueItem"

    def __init__(self, server: State, spec: dict[str, Any], priority: int) -> None:
        super().__init__(server)
        self.spec = spec
        self.priority = priority
        self.state = "PENDING"
        self.associated_run_id: str | None = None
        self.agent_id: str | None = None
        self.messages: list[str] = []


class LaunchAgent(Node):
    typename = "LaunchAgent"
    stop_polling = False

    def __init__(self, server: State, queues: list[str], hostname: str) -> None:
        super().__init__(server)
        self.name = f"agent-{self.serial}"
        self.run_queues = queues
        self.hostname = hostname
        self.agent_status = "POLLING"
        self.heartbeat_at = now()
        server.launch_agents[self.id] = self


def _queue(state: State, input: Input) -> Queue:
    project = state.entity(input.entity_name).project(input.project_name)
    queue = project.run_queue(input.queue_name) if project else None
    if queue is None:
        raise Refused(f"queue {input.queue_name} not found in {input.entity_name}/{input.project_name}", 404)
    return queue


def _item(state: State, item_id: str) -> QueueItem:
    items = (item for queue in state.queues.values() for item in queue.items)
    found = next((item for item in items if item.id == item_id), None)
    if found is None:
        raise Refused(f"queue item {item_id} not found", 404)
    return found


@mutation
def create_default_resource_config(state: State, input: Input) -> dict[str, Any]:
    if input.template_variables and json.loads(input.template_variables):
        raise KeyError("template variables are not modelled")
    return {"defaultResourceConfigID": ResourceConfig(state, input.resource, input.config).id, "success": True}


@mutation
def create_run_queue(state: State, input: Input) -> dict[str, Any]:
    project = state.project(input.entity_name, input.project_name)
    if project.run_queue(input.queue_name):
        raise Refused(f"queue {input.queue_name} exists already", 409)
    config = state.resource_configs.get(input.default_resource_config_id)
    queue = Queue(state, project, input.queue_name, config)
    queue.prioritization_mode = input.prioritization_mode
    return {"success": True, "queueID": queue.id}


@mutation
def upsert_run_queue(state: State, input: Input) -> dict[str, Any]:
    project = state.project(input.entity_name, input.project_name)
    if input.template_variables and json.loads(input.template_variables):
        raise KeyError("template variables are not modelled")
    queue = project.run_queue(input.queue_name) or Queue(state, project, input.queue_name, None)
    queue.config = ResourceConfig(state, input.resource_type, input.resource_config)
    queue.prioritization_mode = input.prioritization_mode
    return {"success": True, "configSchemaValidationErrors": []}


@mutation
def delete_run_queues(state: State, input: Input) -> dict[str, Any]:
    known = [queue_id for queue_id in input.queue_ids if state.queues.pop(queue_id, None)]
    return {"success": known == input.queue_ids, "clientMutationId": None}


@mutation
def push_to_run_queue_by_name(state: State, input: Input) -> dict[str, Any]:
    if input.template_variable_values:
        raise KeyError("template variables are not modelled")
    item = QueueItem(state, json.loads(input.run_spec), 2 if input.priority is None else input.priority)
    _queue(state, input).items.append(item)
    return {"runQueueItemId": item.id, "runSpec": input.run_spec}


@mutation
def pop_from_run_queue(state: State, input: Input) -> dict[str, Any] | None:
    """The most urgent item that nobody has, with the queue's resource and what its config says beyond the item."""
    queue = _queue(state, input)
    waiting = [item for item in queue.items if item.state == "PENDING"]
    if not waiting:
        return None
    item = min(waiting, key=lambda item: item.priority) if queue.prioritization_mode == "V0" else waiting[0]
    item.state, item.agent_id = "LEASED", input.launch_agent_id
    spec = dict(item.spec)
    if queue.config:
        resource = queue.config.resource
        defaults = queue.config.config.get("resource_args", {}).get(resource, {})
        own = (spec.get("resource_args") or {}).get(resource, {})
        spec["resource"] = resource
        spec["resource_args"] = {resource: {**defaults, **own}}
    return {"runQueueItemId": item.id, "runSpec": spec}


@mutation
def ack_run_queue_item(state: State, input: Input) -> dict[str, bool]:
    item = _item(state, input.run_queue_item_id)
    if item.state != "LEASED":
        return {"success": False}
    item.state, item.associated_run_id = "CLAIMED", input.run_name
    return {"success": True}


@mutation
def fail_run_queue_item(state: State, input: Input) -> dict[str, bool]:
    item = _item(state, input.run_queue_item_id)
    item.state = "FAILED"
    item.messages.append(f"{input.stage}: {input.message}")
    return {"success": True}


@mutation
def update_run_queue_item_warning(state: State, input: Input) -> dict[str, bool]:
    _item(state, input.run_queue_item_id).messages.append(f"{input.stage}: {input.message}")
    return {"success": True}


@mutation
def delete_from_run_queue(state: State, input: Input) -> dict[str, Any]:
    queue = state.queues[input.queue_id]
    queue.items = [item for item in queue.items if item.id != input.run_queue_item_id]
    return {"success": True, "clientMutationId": None}


@mutation
def create_launch_agent(state: State, input: Input) -> dict[str, str]:
    return {"launchAgentId": LaunchAgent(state, input.run_queues, input.hostname).id}


@mutation
def update_launch_agent(state: State, input: Input) -> dict[str, bool]:
    agent = state.launch_agents[input.launch_agent_id]
    agent.agent_status, agent.heartbeat_at = input.agent_status, now()
    return {"success": True}
