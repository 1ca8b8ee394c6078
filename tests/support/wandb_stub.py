"""A loopback server that the real wandb client takes for W&B: it records what arrives and fails on demand.

    with WandbStub() as server:
        subprocess.run(..., env=server.environment())
        assert [row["_step"] for row in server.history("my-run")] == [1, 2, 3]

It answers just the GraphQL operations that a run needs and the file stream; everything received is kept in `received`.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

from launcher.network import free_port

API_KEY = "0123456789abcdef" * 2 + "deadbeef"
ENTITY = "stub-entity"


@dataclass
class Run:
    """What the server knows of a run."""

    entity: str
    project: str
    name: str
    inserted: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of UpsertBucket: `displayName`, `groupName`, `jobType`, `tags`, `notes`, ..."""
    config: str = "{}"
    history: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False

    @property
    def id(self) -> str:
        return base64.b64encode(f"Run:v1:{self.name}:{self.project}:{self.entity}".encode()).decode()

    def bucket(self) -> dict[str, Any]:
        project = {"id": "UA==", "name": self.project, "entity": {"id": "RQ==", "name": self.entity}}
        shown = self.attributes.get("displayName") or self.name
        return {
            "id": self.id,
            "name": self.name,
            "displayName": shown,
            "description": None,
            "config": self.config,
            "sweepName": None,
            "historyLineCount": len(self.history),
            "project": project,
        }

    def resume_status(self) -> dict[str, Any]:
        return {
            **self.bucket(),
            "summaryMetrics": json.dumps(self.summary),
            "logLineCount": 0,
            "eventsLineCount": len(self.events),
            "historyTail": json.dumps(self.history[-1:]),
            "eventsTail": json.dumps(self.events[-1:]),
            "tags": self.attributes.get("tags") or [],
            "notes": self.attributes.get("notes"),
            "wandbConfig": json.dumps({"t": 1}),
        }


@dataclass
class Artifact:
    """A version of an artifact: its files as they were uploaded."""

    kind: str
    aliases: list[str]
    metadata: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


@dataclass
class Sweep:
    """A sweep that W&B controls: its configuration as YAML, and the runs that agents are still to start."""

    config: str
    trials: dict[str, dict[str, Any]]
    """Run id -> parameter -> value."""
    ended: dict[str, bool] = field(default_factory=dict)
    """Run id -> whether it is over, of those that were given out."""


@dataclass(frozen=True)
class Received:
    """One request, without its Authorization header."""

    at: float
    """Seconds since the epoch."""
    method: str
    path: str
    operation: str | None
    headers: dict[str, str]
    body: bytes


class WandbStub:
    """The server, on a thread of the test's process."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.received: list[Received] = []
        self.artifacts: dict[str, Artifact] = {}
        """By name."""
        self.sweeps: dict[str, Sweep] = {}
        self.workspaces: dict[str, dict[str, Any]] = {}
        """What they show, by name."""
        self.alerts: list[dict[str, Any]] = []
        """Title, text and severity of each alert."""
        self.unknown: list[str] = []
        """Operations that it did not understand and answered with an error."""
        self._failing: tuple[re.Pattern[str], int, str] | None = None
        self._hanging: re.Pattern[str] | None = None
        self._released = threading.Event()
        self._stop_pressed = False
        self._changed = threading.Condition()
        self._server: _Server | None = None
        # None that the system gives to somebody else meanwhile, who only wants to call somewhere.
        self._port = free_port(random.SystemRandom().randrange(10**6))

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.recover()
        self.go_down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self, key: str = API_KEY) -> dict[str, str]:
        """What a client needs to come here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": key}

    def go_down(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def come_back(self) -> None:
        """Listen (again) at the same port, which others who look for a free one may hold for a moment."""
        deadline = time.monotonic() + 60
        while self._server is None:
            try:
                self._server = _Server(self, self._port)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def fail(self, code: int, where: str = "", message: str = "as asked by the test") -> None:
        """Answer `code` to operations and paths that match `where`, with the message as GraphQL has it."""
        self._failing = (re.compile(where), code, message)

    def hang(self, where: str = "") -> None:
        """Never answer operations and paths that match `where`, until `recover`."""
        self._released.clear()
        self._hanging = re.compile(where)

    def recover(self) -> None:
        """No more failing or hanging."""
        self._failing = self._hanging = None
        self._released.set()

    def press_stop(self) -> None:
        """Press the stop button on the page of every run."""
        self._stop_pressed = True

    def run(self, name: str) -> Run:
        return self.runs[name]

    def history(self, name: str) -> list[dict[str, Any]]:
        """The rows of a run so far; none where it does not exist."""
        run = self.runs.get(name)
        return [json.loads(line) for line in run.history] if run else []

    def operations(self) -> list[str]:
        """Names of the GraphQL operations so far, `file_stream` for uploads of rows."""
        return [request.operation for request in self.received if request.operation]

    def wait_until(self, condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
        """Wait until `condition` holds, looked at after every request."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                if time.monotonic() > deadline:
                    raise AssertionError(f"not within {timeout_s} s: {what}; operations: {self.operations()}")
                self._changed.wait(0.2)

    def everything_received(self) -> bytes:
        """All that clients sent but the Authorization header, as one string to search in."""
        return b"\n".join(
            b"\n".join([request.path.encode(), json.dumps(request.headers).encode(), request.body])
            for request in self.received
        )

    # What the handler calls

    def note(self, request: Received) -> None:
        with self._changed:
            self.received.append(request)

    def settled(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def obstacle(self, what: str) -> tuple[int, str] | None:
        """Hang here if it has to; the status and the message to fail with, if any."""
        if self._hanging is not None and self._hanging.search(what):
            self._released.wait()
        if self._failing is not None and self._failing[0].search(what):
            return self._failing[1:]
        return None

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The data of a GraphQL answer; None for an operation it does not know."""
        handler = getattr(self, f"_on_{operation}", None)
        return None if handler is None else handler(variables)

    def stream(self, name: str, upload: dict[str, Any]) -> dict[str, Any]:
        """Take a file_stream upload: rows at offsets, the summary, and whether the run is over."""
        run = self.runs[name]
        for file, chunk in (upload.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                run.history[chunk["offset"] :] = chunk["content"]
            elif file == "wandb-events.jsonl":
                run.events[chunk["offset"] :] = chunk["content"]
            elif file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if upload.get("complete"):
            run.exit_code = upload.get("exitcode")
        run.preempting |= bool(upload.get("preempting"))
        return {"exitcode": None, "limits": {}, **({"stopped": True} if self._stop_pressed else {})}

    def _of(self, variables: dict[str, Any], name: str) -> Run:
        entity = variables.get("entity") or variables.get("entityName") or ENTITY
        project = variables.get("project") or variables.get("projectName") or "uncategorized"
        return self.runs.setdefault(name, Run(entity, project, name))

    def _on_Probe(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - named after the operation
        return {"__typename": "Query"}

    def _on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        viewer = {"id": "VQ==", "entity": ENTITY, "username": ENTITY, "email": "s@example.org", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def _on_ServerInfo(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "99"}, "latestLocalVersionInfo": None}}

    def _on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"serverInfo": {"features": []}}

    def _on_OrgFeatureFlags(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"organization": {"featureFlags": []}}

    def _on_OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"entity": {"organization": None}}

    def _on_UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if variables.get("name"):
            run = self._of(variables, variables["name"])
        else:
            run = next(run for run in self.runs.values() if run.id == variables["id"])
        inserted, run.inserted = not run.inserted, True
        run.config = variables.get("config") or run.config
        run.attributes.update({name: value for name, value in variables.items() if value is not None})
        return {"upsertBucket": {"bucket": run.bucket(), "inserted": inserted}}

    def _on_RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get(variables["name"])
        known = run is not None and run.inserted
        project, entity = variables.get("project"), variables.get("entity") or ENTITY
        model = {"id": "UA==", "name": project, "entity": {"id": "RQ==", "name": entity}}
        return {"model": {**model, "bucket": run.resume_status() if run and known else None}}

    def _on_CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self._of(variables, variables["run"])
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{run.name}/{name}"} for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    def _on_RunStoppedStatus(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"run": {"stopped": self._stop_pressed}}}

    def _on_NotifyScriptableRunAlert(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.alerts.append({key: variables.get(key) for key in ("title", "text", "severity")})
        return {"notifyScriptableRunAlert": {"success": True}}

    def _on_ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"artifact": None}}

    def _on_CreateArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        asked = variables["input"]
        name = asked["artifactCollectionName"]
        aliases = [alias["alias"] for alias in asked["aliases"]]
        self.artifacts[name] = Artifact(
            asked["artifactTypeName"], aliases, json.loads(asked["metadata"] or "{}")
        )
        return {
            "createArtifact": {
                "artifact": {"id": name, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
            }
        }

    def _on_CreateArtifactFiles(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        nodes = [
            {
                "storagePath": f"{file['artifactID']}/{file['name']}",
                "uploadUrl": f"{self.url}/artifact/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in variables["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _on_CreateArtifactManifest(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        file = {"id": "Rg==", "uploadUrl": f"{self.url}/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "TQ==", "file": file}}}

    def _on_CommitArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = variables["artifactID"]
        self.artifacts[name].committed = True
        return {"commitArtifact": {"artifact": {"id": name, "digest": "d"}}}

    def _on_UpdateArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"updateArtifact": {"artifact": {"id": variables.get("artifactID")}}}

    def _on_UpsertView2(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.workspaces[variables["displayName"]] = json.loads(variables["spec"])
        view = {"id": "Vg==", "name": variables["name"]}
        return {"upsertView": {"view": view, "inserted": True}}

    def _on_SweepWithRuns(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self.sweeps.get(variables["sweep"])
        tree = (
            None
            if found is None
            else {"id": variables["sweep"], "config": found.config, "runs": {"edges": []}}
        )
        return {"project": {"sweep": tree}}

    def _on_CreateAgent(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"createAgent": {"agent": {"id": variables["sweep"]}}}

    def _on_Heartbeat(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """One trial after the other, and then the order to leave."""
        sweep, alive = self.sweeps[variables["id"]], json.loads(variables["runState"])
        sweep.ended = {run: run not in alive for run in sweep.ended}
        for run in sweep.ended:
            if sweep.ended[run] and self.runs[run].preempting:  # what was preempted is given out again
                self.runs[run].preempting = sweep.ended[run] = False
                args = {name: {"value": value} for name, value in sweep.trials[run].items()}
                command = {"type": "resume", "run_id": run, "program": "launch", "args": args}
                return {
                    "agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps([command])}
                }
        commands: list[dict[str, Any]] = []
        waiting = [run for run in sweep.trials if run not in sweep.ended]
        if waiting and all(sweep.ended.values()):
            args = {name: {"value": value} for name, value in sweep.trials[waiting[0]].items()}
            commands = [{"type": "run", "run_id": waiting[0], "program": "launch", "args": args}]
            sweep.ended[waiting[0]] = False
        elif not waiting and all(sweep.ended.values()):
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}

    def _on_MarkRunFilesUploaded(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"markRunFilesUploaded": {"success": True}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, stub: WandbStub, port: int) -> None:
        self.stub = stub
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for request in list(self._open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden one
        """Say nothing."""

    def do_GET(self) -> None:
        self._take("GET")
        self._answer(404, {})

    def do_PUT(self) -> None:
        body = self._take("PUT")
        match = re.match(r"/upload/([^/]+)/(.+)", self.path)
        if match:
            self.server.stub.runs[match[1]].files[unquote(match[2])] = body
        if match := re.match(r"/artifact/([^/]+)/(.+)", self.path):
            self.server.stub.artifacts[unquote(match[1])].files[unquote(match[2])] = body
        self._answer(200, {})

    def do_POST(self) -> None:
        body = self._body()
        message = json.loads(body or b"{}")
        stream = re.match(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        operation = "file_stream" if stream else _operation(message)
        stub = self.server.stub
        self._note("POST", operation, body)
        obstacle = stub.obstacle(operation)
        if obstacle is not None:
            self._answer(obstacle[0], {"errors": [{"message": obstacle[1]}], "data": None})
        elif stream:
            self._answer(200, stub.stream(stream[1], message))
        else:
            data = stub.answer(operation, message.get("variables") or {})
            if data is None:
                stub.unknown.append(operation)
            error = {"errors": [{"message": f"unknown operation {operation}"}], "data": None}
            self._answer(200, error if data is None else {"data": data})

    def _take(self, method: str) -> bytes:
        body = self._body()
        self._note(method, None, body)
        return body

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _note(self, method: str, operation: str | None, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "authorization"}
        self.server.stub.note(Received(time.time(), method, self.path, operation, headers, body))

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        self.server.stub.settled()
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _operation(message: dict[str, Any]) -> str:
    found = re.search(r"(?:query|mutation)\s+(\w+)", message.get("query", ""))
    return message.get("operationName") or (found[1] if found else "anonymous")
