"""A server on the loopback that is a Python package index, as far as one wheel goes."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Index:
    """`asked` collects what a client asked for: (path, Range header)."""

    name: str  # of the package, normalised
    file: str  # of the wheel
    data: bytes
    form: str = "json"  # of the list of files: json, html or odd
    ranges: bool = True  # whether it sends parts
    cut_once: bool = False  # whether the wheel breaks off in the middle, the first time
    login: str = ""  # name:password that it asks for
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def page(self) -> tuple[str, bytes]:
        """The list of files: its kind, and its bytes."""
        link = f"../../files/{self.file}"
        match self.form:
            case "json":
                kind = "application/vnd.pypi.simple.v1+json"
                files = [{"filename": "other-1.0.tar.gz", "url": "x"}, {"url": link}, 7]
                return kind, json.dumps({"files": files}).encode()
            case "html":
                page = f'<a href="{link}#sha256=00">{self.file}</a><a>none</a>'
                return "text/html; charset=utf-8", page.encode()
        return "application/json", b'["no", "list"]'


def handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def reply(self, status: int, kind: str, body: bytes, send: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:send])

        def do_GET(self) -> None:
            index.asked.append((self.path, self.headers["Range"]))
            login = base64.b64encode(index.login.encode()).decode()
            if index.login and self.headers["Authorization"] != f"Basic {login}":
                self.reply(401, "text/plain", b"")
            elif self.path == f"/simple/{index.name}/":
                self.reply(200, *index.page())
            elif self.path == f"/files/{index.file}":
                self.send_wheel()
            else:
                self.reply(404, "text/plain", b"")

        def send_wheel(self) -> None:
            start = self.headers["Range"] if index.ranges else None
            body = index.data[int(start[6:-1]) if start else 0 :]
            send = len(body) // 2 if index.cut_once else None
            index.cut_once = False
            self.reply(206 if start else 200, "application/zip", body, send)

    return Handler


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(index))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
