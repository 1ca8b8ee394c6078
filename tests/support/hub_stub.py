"""A loopback server that the real huggingface_hub client takes for the hub: it keeps what is committed.

    with HubStub() as hub:
        launch("push", "done", "me/model", "--yes", env=hub.environment())
        assert hub.repos["me/model"].files["README.md"].startswith(b"---")

It answers what an upload of a model asks: who one is, whether a repository is there, making one, how each file is to be sent,
git LFS, and the commit. Large files come by LFS; the client's other way, hf_xet, is switched off by `environment`.

And it serves downloads, to whoever asks: `publish` puts a directory on main as a new commit of a model or of a data set.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz01234567"
USER = "me"
LARGE = re.compile(r"\.(safetensors|onnx|bin)$")


@dataclass
class Repo:
    """A repository: its files at the newest commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """Summaries."""
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files of each commit that was published, the newest last: that is main."""

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]]:
        """Commit and files of main, or of a commit."""
        commit = list(self.trees)[-1] if revision == "main" else revision
        return commit, self.trees[commit]


class HubStub:
    """The server, on a thread of the test's process."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        """What came by LFS, by sha256."""
        self.requests: list[str] = []
        self.away = False
        """Whether it answers nobody."""
        self.refused: dict[str, tuple[int, str]] = {}
        """Name of a model -> status and error code of every answer about it."""
        self.failing: tuple[re.Pattern[str], int] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, token: str | None = TOKEN) -> dict[str, str | None]:
        """What a client needs to come here."""
        ways = {"HF_HUB_OFFLINE": None, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token}
        return {"HF_ENDPOINT": self.url, **ways}

    def fail(self, code: int, where: str) -> None:
        """Answer `code` to paths that match `where`."""
        self.failing = (re.compile(where), code)

    def publish(self, name: str, directory: Path, kind: str = "models") -> str:
        """Put the files of a directory on main, as the next commit, which is returned."""
        repo = self.repos.setdefault(name if kind == "models" else f"{kind}/{name}", Repo(private=False))
        files = {
            str(path.relative_to(directory)): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        commit = hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()
        repo.trees[commit] = files
        return commit

    def downloads(self, name: str) -> list[str]:
        """Files whose content was sent, once for each time."""
        found = (
            re.fullmatch(rf"GET /(?:datasets/)?{name}/resolve/[^/]+/(.+)", each) for each in self.requests
        )
        return sorted(each[1] for each in found if each is not None)

    def read(self, path: str) -> tuple[int, Any, dict[str, str]] | None:
        """Status, content and headers of a file or of what is said of a repository; None for another question."""
        asked = re.fullmatch(
            r"/(?:api/(?P<api>models|datasets)/(?P<named>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<at>[^/]+)(?P<under>/.*)?)?"
            r"|(?P<kind>datasets/)?(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<rev>[^/]+)/(?P<file>.+))",
            path,
        )
        refusal = None if asked is None else self.refused.get(asked["named"] or asked["repo"])
        if refusal is not None:
            return refusal[0], {"error": "refused"}, {"X-Error-Code": refusal[1]}
        kind = "" if asked is None or "datasets" not in (asked["api"] or asked["kind"] or "") else "datasets/"
        repo = None if asked is None else self.repos.get(kind + (asked["named"] or asked["repo"]))
        if asked is None or repo is None or not repo.trees:
            return None
        try:
            commit, files = repo.tree(asked["at"] or asked["rev"] or "main")
        except KeyError:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        headers = {"X-Repo-Commit": commit}
        if asked["file"] is None:
            return 200, _listed(asked["named"], commit, files, whole=asked["what"] != "tree"), headers
        if asked["file"] not in files:
            return 404, {"error": "Entry not found"}, {**headers, "X-Error-Code": "EntryNotFound"}
        content = files[asked["file"]]
        return 200, content, {**headers, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON for a request with the right token."""
        if self.failing is not None and self.failing[0].search(path):
            return self.failing[1], {"error": "as asked by the test"}
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": USER, "auth": {"accessToken": {"role": "write"}}}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)", path):
            return self._info(found[1])
        if found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            return self._preupload(json.loads(body))
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if found := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            assert hashlib.sha256(body).hexdigest() == found[1]
            self.blobs[found[1]] = body
            return 200, {}
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(found[1], body)
        return 404, {"error": f"the stub knows no {method} {path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if name in self.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
        if not name.startswith(f"{USER}/"):
            return 403, {"error": f"You don't have the rights to create a model under the namespace {name}"}
        self.repos[name] = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        return 200, {"url": f"{self.url}/{name}", "id": name}

    def _info(self, name: str) -> tuple[int, Any]:
        repo = self.repos.get(name)
        if repo is None:
            return 404, {"error": "Repository not found"}
        return 200, {"id": name, "private": repo.private, "sha": "0" * 40, "siblings": [], "tags": []}

    def _preupload(self, asked: dict[str, Any]) -> tuple[int, Any]:
        ways = {True: "lfs", False: "regular"}
        files = [
            {
                "path": file["path"],
                "shouldIgnore": False,
                "uploadMode": ways[bool(LARGE.search(file["path"]))],
            }
            for file in asked["files"]
        ]
        return 200, {"files": files}

    def _batch(self, asked: dict[str, Any]) -> tuple[int, Any]:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.url}/lfs/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        repo = self.repos[name]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repo.commits.append(value["summary"])
            elif entry["key"] == "lfsFile":
                repo.files[value["path"]] = self.blobs[value["oid"]]
            elif entry["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
        url = f"{self.url}/{name}/commit/{'1' * 40}"
        return 200, {"success": True, "commitOid": "1" * 40, "commitUrl": url, "hookOutput": ""}


def _listed(name: str, commit: str, files: Mapping[str, bytes], *, whole: bool) -> Any:
    """What the hub says of a repository, or the list of its files alone."""
    if whole:
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "private": False, "sha": commit, "siblings": siblings, "tags": []}
    return [
        {
            "type": "file",
            "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "size": len(content),
            "path": path,
        }
        for path, content in files.items()
    ]


def _handler(stub: HubStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden one
            """Say nothing."""

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            stub.requests.append(f"{self.command} {path}")
            if stub.away:
                self.close_connection = True
                return
            if self.command in ("GET", "HEAD") and (found := stub.read(path)) is not None:
                self._send(*found)
                return
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}" or path.startswith("/lfs/")
            code, content = (
                stub.answer(self.command, path, body)
                if known
                else (401, {"error": "Invalid username or password."})
            )
            self._send(code, content)

        def _send(self, code: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            if code == 404 and headers is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        do_GET = do_HEAD = do_POST = do_PUT = _take  # noqa: N815 - named by the base class

    return Handler
