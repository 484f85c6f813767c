"""A server on this machine that speaks the Hugging Face Hub's HTTP interface to its real client, and breaks on demand.

A ``Fault`` makes chosen requests fail as they do in life: an error of the server, a connection that
ends before, in the middle of or after an answer, or something else done first, such as killing the client.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repositories import DENIED, READ, WHEN, WRITE, Blob, Fault, Repository


class HubServer(ThreadingHTTPServer):
    """The Hub: ``with serving() as hub``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.hidden: set[str] = set()
        """Names that are taken by what nobody here may see."""
        self.large: dict[str, bytes] = {}
        """Large files by their SHA-256, which their upload's check has put there from ``pending``."""
        self.pending: dict[str, bytes] = {}
        self.tokens = {WRITE: "write", READ: "read"}
        self.faults: list[Fault] = []
        self.limit = 1_000_000
        """Bytes of a file."""
        self.requests: list[str] = []
        self.lock = threading.RLock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def make(self, name: str, private: bool = True, files: dict[str, bytes] | None = None) -> Repository:
        """Make a repository, as the Hub does: with a first commit."""
        made = self.repositories[name] = Repository(private)
        blobs = {path: Blob(content, False) for path, content in (files or {}).items()}
        made.refs["refs/heads/main"] = made.commit(
            {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False), **blobs}, None, "initial commit"
        )
        return made

    def fault(self, pattern: str, kind: str, times: int = 1_000_000, do: Callable[[], None] | None = None) -> None:
        """Let something go wrong."""
        self.faults.append(Fault(pattern, kind, times, do))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients end."""


class Handler(BaseHTTPRequestHandler):
    """Answers a request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = {key: values[0] for key, values in parse_qs(split.query).items()}
        said = f"{self.command} {unquote(split.path)}"
        with self.server.lock:
            self.server.requests.append(said)
            fault = self._fault(said)
        if fault and fault.do:
            fault.do()
        kind = fault.kind if fault else ""
        self.half, self.mute = kind == "half", kind == "lost"
        if kind.isdigit():
            self.answer(int(kind), {"error": "try again later"})
        elif kind == "echo":
            self.refuse(403, f"no rights: {self.headers.get('Authorization', 'Bearer ' + WRITE)}")
        elif kind == "drop":
            self.hang_up()
        else:
            with self.server.lock:
                self.route(unquote(split.path))

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

    def _fault(self, said: str) -> Fault | None:
        for fault in self.server.faults:
            if re.search(fault.pattern, said) and fault.hits < fault.times:
                fault.hits += 1
                return fault
        return None

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def answer(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        if self.mute:
            return self.hang_up()
        body = content if isinstance(content, bytes) else json.dumps(content if content is not None else {}).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if self.half and len(body) > 1:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            return self.hang_up()
        self.wfile.write(body)
        return None

    def refuse(self, status: int, message: str, code: str = "") -> None:
        self.answer(
            status, {"error": message}, {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        )

    def role(self) -> str | None:
        return self.server.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def route(self, path: str) -> None:
        """Find who answers."""
        if path.startswith("/large/"):
            return self.large_file(path.removeprefix("/large/"))
        if "Authorization" in self.headers and self.role() is None:
            return self.refuse(401, DENIED)
        if path == "/api/whoami-v2":
            return self.whoami()
        if path == "/api/validate-yaml":
            bad = "colour: [" in json.loads(self.body)["content"]
            return self.answer(
                400 if bad else 200, {"errors": [{"message": "invalid YAML"}] if bad else [], "warnings": []}
            )
        if self.command in ("POST", "PUT") and self.role() != "write":
            return self.refuse(403, "Forbidden: you must use a write token to upload to a repository.")
        if path == "/api/repos/create":
            return self.create()
        for pattern, answer in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                name, *rest = match.groups()
                repository = self.server.repositories.get(name)
                if repository is None or (repository.private and self.role() is None):
                    return self.refuse(404 if self.role() else 401, "Repository not found", "RepoNotFound")
                return answer(self, name, repository, *rest)
        return self.refuse(404, f"no such thing: {self.command} {path}")

    def whoami(self) -> None:
        if not self.role():
            return self.refuse(401, DENIED)
        auth = {"accessToken": {"displayName": "x", "role": self.role()}}
        return self.answer(200, {"type": "user", "name": "me", "orgs": [{"name": "org"}], "auth": auth})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or "me"
        name = f"{owner}/{asked['name']}"
        if owner not in ("me", "org"):
            return self.refuse(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        if name in self.server.repositories or name in self.server.hidden:
            return self.answer(409, {"error": "You already created this model repo"})
        self.server.make(name, asked.get("private", False) or asked.get("visibility") == "private")
        return self.answer(200, {"url": f"{self.server.endpoint}/{name}", "name": name})

    def info(self, name: str, repository: Repository, revision: str | None = None) -> None:
        sha = repository.resolve(revision or "main")
        if sha is None:
            return self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        siblings = [{"rfilename": path} for path in repository.commits[sha][0]]
        return self.answer(
            200, {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": siblings}
        )

    def tree(self, name: str, repository: Repository, revision: str) -> None:
        sha = repository.resolve(revision)
        if sha is None:
            return self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.answer(200, [blob.described(path) for path, blob in repository.commits[sha][0].items()])

    def commits(self, name: str, repository: Repository, revision: str) -> None:
        found, sha = [], repository.resolve(revision)
        while sha:
            _, parent, title = repository.commits[sha]
            found.append({"id": sha, "authors": [{"user": "me"}], "date": WHEN, "title": title, "message": ""})
            sha = parent
        return self.answer(200, found)

    def refs(self, name: str, repository: Repository) -> None:
        found: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
        for ref, sha in repository.refs.items():
            kind = {"heads": "branches", "tags": "tags"}.get(ref.split("/")[1], "pullRequests")
            found[kind].append({"name": ref.split("/", 2)[2], "ref": ref, "targetCommit": sha})
        return self.answer(200, found)

    def preupload(self, name: str, repository: Repository, revision: str) -> None:
        files = json.loads(self.body)["files"]
        said = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in files
        ]
        return self.answer(200, {"files": said})

    def batch(self, name: str, repository: Repository) -> None:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            known = {"oid": asked["oid"], "size": asked["size"]}
            if asked["size"] > self.server.limit:
                known["error"] = {"code": 413, "message": f"file of {asked['size']} bytes exceeds the limit"}
            elif asked["oid"] not in self.server.large:
                href = f"{self.server.endpoint}/large/{asked['oid']}"
                known["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(known)
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def large_file(self, oid: str) -> None:
        if oid.endswith("/verify"):
            oid = oid.removesuffix("/verify")
            if oid in self.server.pending:
                self.server.large[oid] = self.server.pending.pop(oid)
            return self.answer(200 if oid in self.server.large else 404)
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.refuse(400, "the content has another SHA-256")
        self.server.pending[oid] = self.body
        return self.answer(200)

    def commit(self, name: str, repository: Repository, revision: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines() if line]
        head = repository.refs[f"refs/heads/{revision}"]
        files, title = dict(repository.commits[head][0]), lines[0]["value"]["summary"]
        if lines[0]["value"].get("parentCommit", head) != head:
            return self.refuse(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = Blob(self.server.large[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files, head, title)
        said = {"success": True, "commitOid": sha, "commitUrl": f"{self.server.endpoint}/{name}/commit/{sha}"}
        if "create_pr" in self.query:
            number = len(repository.discussions) + 1
            repository.refs[f"refs/pr/{number}"] = sha
            repository.discussions.append({"num": number, "title": title, "status": "open"})
            said["pullRequestUrl"] = f"{self.server.endpoint}/{name}/discussions/{number}"
        else:
            repository.refs[f"refs/heads/{revision}"] = sha
        return self.answer(200, said)

    def listed(self, name: str, repository: Repository) -> None:
        common = {
            "author": {"name": "me"},
            "createdAt": WHEN,
            "isPullRequest": True,
            "repo": {"name": name, "type": "model"},
        }
        found = [{**common, **discussion} for discussion in repository.discussions]
        return self.answer(200, {"count": len(found), "start": 0, "discussions": found})

    def merge(self, name: str, repository: Repository, number: str) -> None:
        discussion, sha = repository.discussions[int(number) - 1], repository.refs[f"refs/pr/{number}"]
        if discussion["status"] != "open":
            return self.refuse(400, f"it is {discussion['status']}")
        files, parent, title = repository.commits[sha]
        if parent != repository.refs["refs/heads/main"]:
            return self.refuse(409, "it conflicts with main")
        discussion["status"] = "merged"
        repository.refs["refs/heads/main"] = repository.commit(files, parent, f"{title} (#{number})")
        return self.answer(200)

    def status(self, name: str, repository: Repository, number: str) -> None:
        repository.discussions[int(number) - 1]["status"] = status = json.loads(self.body)["status"]
        event = {"id": "0", "type": "status-change", "createdAt": WHEN, "data": {"status": status}}
        return self.answer(200, {"newStatus": event})

    def tag(self, name: str, repository: Repository, revision: str) -> None:
        ref = f"refs/tags/{json.loads(self.body)['tag']}"
        if ref in repository.refs:
            return self.refuse(409, "Tag reference exists already")
        repository.refs[ref] = repository.resolve(revision) or ""
        return self.answer(200)

    def settings(self, name: str, repository: Repository) -> None:
        asked = json.loads(self.body)
        repository.private = asked.get("private", asked.get("visibility") == "private")
        return self.answer(200)

    def download(self, name: str, repository: Repository, revision: str, path: str) -> None:
        sha = repository.resolve(revision)
        blob = repository.commits[sha][0].get(path) if sha else None
        if sha is None or blob is None:
            return self.refuse(404, "Entry not found", "EntryNotFound" if sha else "RevisionNotFound")
        etag = blob.sha256 if blob.large else blob.oid
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": sha, "Content-Type": "application/octet-stream"}
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        rest = blob.content[start:]
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(blob.content) - 1}/{len(blob.content)}"
        return self.answer(206 if asked else 200, rest, headers)


API = r"/api/models/([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, Callable[..., None]]] = [
    (rf"GET {API}", Handler.info),
    (rf"GET {API}/revision/(.+)", Handler.info),
    (rf"GET {API}/tree/(.+)", Handler.tree),
    (rf"GET {API}/commits/(.+)", Handler.commits),
    (rf"GET {API}/refs", Handler.refs),
    (rf"GET {API}/discussions", Handler.listed),
    (rf"POST {API}/preupload/(.+)", Handler.preupload),
    (rf"POST {API}/commit/(.+)", Handler.commit),
    (rf"POST {API}/discussions/(\d+)/merge", Handler.merge),
    (rf"POST {API}/discussions/(\d+)/status", Handler.status),
    (rf"POST {API}/tag/(.+)", Handler.tag),
    (rf"PUT {API}/settings", Handler.settings),
    (r"POST /([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", Handler.batch),
    (r"(?:GET|HEAD) /([\w.-]+/[\w.-]+)/resolve/((?:refs/pr/)?[^/]+)/(.+)", Handler.download),
]


@contextmanager
def serving() -> Iterator[HubServer]:
    """Lend a Hub that answers on this machine until the block ends."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
