"""An nginx that answers a constant to everything over TLS HTTP/2: faster than any sender here.

So what is measured is the sender. It runs as one process on a core of its own where there is one.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.conversation import Response
from tocsin.sandbox.kept_port import keep_port

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors warn;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_requests 100000000; http2_max_concurrent_streams 1000;
    client_max_body_size 8m;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} ssl {http2};
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
        location / {{ {answer} }}
        {others}
    }}
}}
"""


class Sink(Struct, frozen=True):
    """Where it listens, and whom to trust."""

    ca: str
    port: int

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"


def is_installed() -> bool:
    return shutil.which("nginx") is not None


def said(response: Response) -> str:
    """An answer in nginx's words."""
    kind = response.headers.get("content-type", "text/plain").partition(";")[0]
    body = response.body.decode().replace("\\", r"\\").replace("'", r"\'")
    assert "$" not in body, "nginx would put a variable in its place"
    return f"default_type {kind}; return {response.status} '{body}';"


@contextlib.contextmanager
def sink(
    answer: str = "return 200;", at: Mapping[str, str] = {}, *, http2: bool = True
) -> Iterator[Sink]:
    """nginx, for the time of a benchmark; `at` has the answers of single paths.

    It reads no body before it answers, and takes long ones over HTTP/2 for an attack.
    """
    ca = ThrowawayCa()
    with keep_port("127.0.0.1") as kept, tempfile.TemporaryDirectory() as folder:
        port = kept.getsockname()[1]
        Path(folder, "server.pem").write_text(ca.identity("localhost"))
        others = " ".join(f"location = {path} {{ {text} }}" for path, text in at.items())
        conf = NGINX.format(
            folder=folder,
            port=port,
            http2="http2" if http2 else "",
            answer=answer,
            others=others,
        )
        Path(folder, "nginx.conf").write_text(conf)
        arguments = ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield Sink(ca.pem, port)
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    """Return once something listens."""
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
