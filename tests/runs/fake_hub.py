"""A server of this machine that answers like the Hugging Face hub, for one model repository."""

import base64
import hashlib
import http.server
import json
import re
import threading
from typing import Any

REPOSITORY = "someone/detector"


class FakeHub:
    """Files by commit, and what was asked for.

    Attributes:
      commits: the files of every commit by their name; the last commit is `main`.
      objects: what was uploaded as large files, by SHA-256.
      uploads: how often a large file was sent.
      broken_uploads: how many of the next uploads fail.
      private: whether only its owner sees it.
      titles: of the commits.
    """

    def __init__(self, exists: bool = True):
        self.commits: dict[str, dict[str, bytes]] = {"0" * 40: {}} if exists else {}
        self.titles = ["initial commit"]
        self.private = False
        self.objects: dict[str, bytes] = {}
        self.uploads = self.broken_uploads = 0
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, content = hub.answer(self.command, self.path, body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do  # noqa: N815

            def log_message(self, format, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def commit(self, files: dict[str, bytes], title: str = "Edit") -> str:
        """Adds files to those that are there; returns the commit."""
        name = f"{len(self.commits):040x}"
        self.titles.append(title)
        self.commits[name] = {**(list(self.commits.values()) or [{}])[-1], **files}
        return name

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of a response."""
        path = path.partition("?")[0]
        if path == "/api/repos/create":
            if self.commits:
                return _json({"error": "it exists", "url": f"{self.url}/{REPOSITORY}"}, 409)
            self.commits["0" * 40] = {}
            self.private = json.loads(body).get("visibility") == "private"
            return _json({"url": f"{self.url}/{REPOSITORY}"})
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if path.startswith("/upload/"):
            if self.broken_uploads:
                self.broken_uploads -= 1
                return _json({"error": "broken"}, 400)
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/upload/")
            self.objects[path.removeprefix("/upload/")] = body
            self.uploads += 1
            return _json({})
        if REPOSITORY not in path or not self.commits:
            return _json({}, 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "none"})
        return self._of_repository(path.split(REPOSITORY, 1)[1], body)

    def _of_repository(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        newest = list(self.commits)[-1]
        if path == ".git/info/lfs/objects/batch":
            objects = []
            for wanted in json.loads(body)["objects"]:
                there = wanted["oid"] in self.objects
                actions = {"upload": {"href": f"{self.url}/upload/{wanted['oid']}", "header": {}}}
                objects.append({**wanted, **({} if there else {"actions": actions})})
            return _json({"objects": objects, "transfer": "basic"})
        found = re.fullmatch(
            r"/(?:(preupload|commits?|revision|tree|paths-info|resolve)/([^/]+))?(.*)", path or "/"
        )
        assert found, path
        action, revision, rest = found.groups()
        commit = newest if revision in (None, "main") else revision
        if commit not in self.commits:
            return _json({}, 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "none"})
        files = self.commits[commit]
        if action == "preupload":
            listed = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            return _json(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": modes[file["path"].endswith(".safetensors")],
                            "shouldIgnore": False,
                        }
                        for file in listed
                    ]
                }
            )
        if action == "commit":
            sent: dict[str, bytes] = {}
            title = ""
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                assert line["key"] in ("header", "file", "lfsFile"), line
                if line["key"] == "header":
                    title = value["summary"]
                    if value.get("parentCommit", newest) != newest:
                        return _json({"error": "a newer commit is there"}, 412)
                elif line["key"] == "file":
                    sent[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    sent[value["path"]] = self.objects[value["oid"]]
            name = self.commit(sent, title)
            url = f"{self.url}/{REPOSITORY}/commit/{name}"
            return _json({"commitUrl": url, "commitOid": name})
        if action == "commits":
            there = list(self.commits).index(commit) + 1
            said = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "message": ""}
            named = list(zip(self.commits, self.titles, strict=True))[:there]
            return _json([{"id": name, "title": title, **said} for name, title in named[::-1]])
        if action in ("tree", "paths-info"):
            wanted = {
                name: files[name] for name in files if action == "tree" or name.encode() in body
            }
            return _json([_entry(name, content) for name, content in wanted.items()])
        if action == "resolve":
            content = files.get(rest.removeprefix("/"))
            if content is None:
                return _json({}, 404, {"X-Error-Code": "EntryNotFound"})
            etag = hashlib.sha256(content).hexdigest()
            return 200, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}, content
        listed = [{"rfilename": name} for name in files]
        about = {"id": REPOSITORY, "sha": commit, "private": self.private}
        return _json({**about, "siblings": listed})


def _entry(name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    lfs = {"oid": digest, "size": len(content), "pointerSize": 1}
    large = {"lfs": lfs} if name.endswith(".safetensors") else {}
    return {"type": "file", "path": name, "size": len(content), "oid": digest[:40], **large}


def _json(
    value: Any, status: int = 200, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    return (
        status,
        {"Content-Type": "application/json", **(headers or {})},
        json.dumps(value).encode(),
    )
