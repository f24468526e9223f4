"""Buckets for tests: one in memory, and one behind a proxy that delays, repeats and counts; no tests in here."""

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from obstore.store import MemoryStore

from orchestrator.store.folder import Folder
from orchestrator.store.places.bucket import Bucket


def memory_bucket() -> Folder:
    """Returns the root of an empty bucket in memory."""
    return Folder(Bucket("memory://", "bucket", MemoryStore()), "bucket")


@dataclass
class Proxy:
    """Stands between a client and an S3 server."""

    host: str
    """Of the server, with its port; clients sign for it and the proxy passes on what they sign."""
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """Requests, by method; LIST apart."""
    before: Callable[[str, str], None] = lambda method, path: None
    """Is called before a request is passed on, in a thread of its own; it may wait."""
    repeats: Callable[[str, str], bool] = lambda method, path: False
    """Which requests arrive twice, where the client gets the second answer only."""
    is_away: bool = False
    """Whether connections are closed without an answer."""

    @property
    def options(self) -> str:
        """Query of URIs of buckets behind it."""
        return f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"


@contextmanager
def proxy_to(host: str) -> Iterator[Proxy]:
    """Runs a proxy to an S3 server."""
    proxy = Proxy(host)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            is_list = "list-type" in parse_qs(urlsplit(self.path).query)
            proxy.asked["LIST" if is_list else self.command] += 1
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.before(self.command, self.path)
            if proxy.is_away:
                self.close_connection = True
                return
            for _ in range(2 if proxy.repeats(self.command, self.path) else 1):
                server = http.client.HTTPConnection(proxy.host)
                server.request(self.command, self.path, body, dict(self.headers))
                answer = server.getresponse()
                content = answer.read()
                server.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # as http.server wants it

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
