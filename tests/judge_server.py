"""A chat endpoint on loopback that answers like a judge and fails as told: real HTTP, made with the
standard library.
"""

import gzip
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WORDS = ("red", "blue")


def texts_of(request: dict[str, Any]) -> tuple[str, str]:
    """Prompt and completion as they stand between the markers of the question."""
    found = re.search(
        r"\[prompt (\w+)\]\n(.*?)\n\[end of prompt \1\]\n\n\[completion \1\]\n(.*?)\n\[end of completion"
        r" \1\]",
        request["messages"][1]["content"],
        re.DOTALL,
    )
    return found[2], found[3]


def by_colour(request: dict[str, Any]) -> str:
    """The label a perfect judge gives: which colour the completion names."""
    return json.dumps({"label": next(w for w in WORDS if w in texts_of(request)[1])})


def completion(content: str | None, **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content} | choice.pop("message", {})
    whole = {"index": 0, "message": message, "finish_reason": "stop"} | choice
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "colour-1",
        "choices": [whole],
        "usage": usage,
    }


class JudgeServer:
    """`fault(request, nth)` names what goes wrong with the nth request for a completion (0 the first), or
    None; `served` lists what happened, in order.

    `answer` gives the content of a sound answer, or a whole chat completion. The server can be stopped and
    started again at the same address.
    """

    def __init__(
        self,
        fault: Callable[[dict[str, Any], int], str | None] = lambda request, nth: None,
        answer: Callable[[dict[str, Any]], Any] = by_colour,
        delay: float = 0.0,
    ):
        self.fault, self.answer, self.delay = fault, answer, delay
        self.served: list[tuple[str, str | None, float]] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked: Counter[str] = Counter()
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.errors: list[BaseException] = []
        self.port = 0

    def __enter__(self) -> "JudgeServer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        assert not self.errors, (
            f"the server itself failed, which clients take for a broken connection: {self.errors}"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answered(self) -> Counter[str]:
        """How many sound answers each completion got."""
        return Counter(text for text, fault, _ in self.served if fault is None)

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = (
                True  # head and body are two packets, and the second would wait for the first one's receipt
            )

            def setup(self) -> None:
                super().setup()
                with outer.lock:
                    outer.open.add(self.connection)

            def finish(self) -> None:
                with outer.lock:
                    outer.open.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, address: Any) -> None:
                wrong = sys.exc_info()[1]
                if isinstance(
                    wrong,
                    AssertionError,
                    # all else is broken on purpose: connections, clients that are killed halfway through a
                    # request
                ):
                    outer.errors.append(wrong)

        self.httpd = Server(("127.0.0.1", self.port), Handler)
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuses new connections and breaks the open ones."""
        self.httpd.shutdown()
        self.httpd.server_close()
        with self.lock:
            for connection in self.open:
                with suppress(OSError):  # the client may have closed it already
                    connection.shutdown(socket.SHUT_RDWR)

    def text_of(self, body: dict[str, Any]) -> str:
        """What a request is counted under."""
        return texts_of(body)[1]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        text = self.text_of(body)
        with self.lock:
            fault = self.fault(body, self.asked[text])
            self.asked[text] += 1
            self.served.append((text, fault, time.monotonic()))
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            time.sleep(self.delay)
            self.respond(handler, body, fault)
        except OSError:  # the client, or the test, has closed the connection
            handler.close_connection = True
        finally:
            with self.lock:
                self.busy -= 1

    def respond(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], fault: str | None) -> None:
        kind, _, value = (fault or "").partition(" ")
        found = self.answer(body)
        sound = found if isinstance(found, dict) else completion(found)
        if kind == "HTTP":
            status, _, wait = value.partition(" after ")
            error = {
                "error": {
                    "message": f"fault {status}; key {handler.headers.get('authorization')}",
                    "code": None,
                }
            }
            send(handler, json.dumps(error), int(status), {"Retry-After": wait} if wait else {})
        elif kind == "quota":
            send(handler, json.dumps({"error": {"message": "no credit", "code": "insufficient_quota"}}), 429)
        elif kind == "stall":
            handler.connection.recv(1)  # comes back once the client has given up
            handler.close_connection = True
        elif kind == "drip":
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", "10000")
            handler.end_headers()
            for _ in range(int(value)):
                handler.wfile.write(b" ")
                time.sleep(0.05)
            handler.close_connection = True
        elif kind == "reset":
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", "10000")
            handler.end_headers()
            handler.wfile.write(json.dumps(sound)[:20].encode())
            handler.wfile.flush()
            with self.lock:
                self.open.discard(handler.connection)
            reset(handler.connection)
            handler.close_connection = True
        elif kind == "body":
            send(handler, value)
        elif kind == "redirect":
            send(handler, "", 307, {"Location": value})
        elif kind == "packed":
            send(handler, gzip.compress(json.dumps(sound).encode()), headers={"Content-Encoding": "gzip"})
        elif kind == "say":
            send(handler, json.dumps(completion(value)))
        elif kind == "refuse":
            send(handler, json.dumps(completion(None, message={"refusal": "I would rather not."})))
        elif kind == "filter":
            send(handler, json.dumps(completion("", finish_reason="content_filter")))
        elif kind == "none":
            send(handler, json.dumps(completion(None)))
        elif kind == "empty":
            send(handler, json.dumps(completion("") | {"choices": []}))
        elif kind == "cut":
            send(handler, json.dumps(completion(value, finish_reason="length")))
        else:
            assert fault is None, fault
            send(handler, json.dumps(sound))


def send(
    handler: BaseHTTPRequestHandler,
    body: str | bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> None:
    data = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def reset(connection: socket.socket) -> None:
    """Closes with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


@contextmanager
def transformers_serve(folder: Path) -> Generator[str]:
    """`transformers serve` on the model in a folder; gives the address once it answers."""
    with JudgeServer() as free:  # a port that is free once this one is closed
        port = free.port
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [
        str(Path(sys.executable).parent / "transformers"),
        "serve",
        str(folder),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--device",
        "cpu",
    ]
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            time.sleep(0.2)
            assert process.poll() is None, (folder / "log.txt").read_text()
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)
