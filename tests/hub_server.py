"""A server on the loopback that speaks the Hugging Face Hub's protocol, as far as pulling goes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NULL = object()  # an answer that is JSON's null; None stands for the truth
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One model. `asked` collects what clients asked for: (method, path, Range header)."""

    name: str
    files: dict[str, bytes]
    revision: str = "main"
    gated: bool = False
    commit: str = COMMIT
    etags: dict[str, str] = field(default_factory=dict)  # of files whose ETag is a lie
    sent_instead: dict[str, bytes] = field(default_factory=dict)  # of files, what comes
    large: set[str] = field(default_factory=set)  # files that are kept beside git, by their sha256
    answer: object = None  # to whoever asks for the model, in place of the truth
    cut_once: str = ""  # the file that is cut in the middle when it is first sent
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def sent(self) -> list[str]:
        """The names of the files whose content was asked for."""
        mark = f"/{self.name}/resolve/"
        return [
            p.split(mark)[1].split("/", 1)[1] for m, p, _ in self.asked if m == "GET" and mark in p
        ]


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs(data: bytes) -> dict[str, object]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"size": len(data), "sha256": sha256, "oid": sha256, "pointerSize": 130}


def sibling(hub: Hub, name: str) -> dict[str, object]:
    data = hub.files[name]
    entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
    return entry | ({"lfs": lfs(data)} if name in hub.large else {})


def tree_entry(hub: Hub, name: str) -> dict[str, object]:
    data = hub.files[name]
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data)}
    return entry | {"oid": git_hash(data)} | ({"lfs": lfs(data)} if name in hub.large else {})


def model_info(hub: Hub) -> dict[str, object]:
    files = [sibling(hub, name) for name in hub.files]
    return {"id": hub.name, "sha": hub.commit, "siblings": files}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            headers.setdefault("Content_Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def json(self, value) -> None:
            value = None if value is NULL else value
            self.reply(200, json.dumps(value).encode(), Content_Type="application/json")

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = urlsplit(self.path).path
            hub.asked.append((self.command, path, self.headers.get("Range")))
            api = f"/api/models/{hub.name}"
            if hub.name not in path:
                self.reply(404, X_Error_Code="RepoNotFound")
            elif hub.gated:
                self.reply(403, X_Error_Code="GatedRepo")
            elif path in (f"{api}/revision/{hub.revision}", f"{api}/revision/{COMMIT}"):
                self.json(model_info(hub) if hub.answer is None else hub.answer)
            elif path.startswith(f"{api}/revision/"):
                self.reply(404, X_Error_Code="RevisionNotFound")
            elif path.startswith(f"{api}/tree/"):
                self.json([tree_entry(hub, name) for name in hub.files])
            else:
                self.send_file(path.split("/resolve/")[1].split("/", 1)[1])

        def send_file(self, name: str) -> None:
            data = hub.files[name]
            truth = hashlib.sha256(data).hexdigest() if name in hub.large else git_hash(data)
            etag = hub.etags.get(name, f'"{truth}"')
            headers = {"ETag": etag, "X_Repo_Commit": hub.commit, "Accept_Ranges": "bytes"}
            data = hub.sent_instead.get(name, data)
            asked = self.headers.get("Range")
            status, body = 200, data
            if asked:
                start = int(asked.removeprefix("bytes=").split("-")[0])
                status, body = 206, data[start:]
                headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            if self.command == "GET" and hub.cut_once == name:
                hub.cut_once = ""
                headers["Content_Length"] = str(len(body))
                self.reply(status, body[: len(body) // 2], **headers)
                self.close_connection = True
            else:
                self.reply(status, body, **headers)

    return Handler


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` at `hub.url` until the block ends; every socket is closed then."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
