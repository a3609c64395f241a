"""An nginx that answers an empty 200 to everything over TLS HTTP/2: faster than any sender here.

So what is measured is the sender. It runs as one process on a core of its own where there is one.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from tests.wire.throwaway_ca import ThrowawayCa

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors warn;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_requests 100000000; http2_max_concurrent_streams 1000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
        location / {{ {answer} }}
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


@contextlib.contextmanager
def sink(answer: str = "return 200;") -> Iterator[Sink]:
    """nginx, for the time of a benchmark."""
    ca = ThrowawayCa()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "server.pem").write_text(ca.identity("localhost"))
        conf = NGINX.format(folder=folder, port=port, answer=answer)
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
