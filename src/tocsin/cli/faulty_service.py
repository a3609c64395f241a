"""The service that `tocsin demo --break` starts: `tocsin serve` with one fault injected.

The demo starts this module by its name. No command, setting or environment variable leads here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tocsin.adapters.fault_injection import NAMES, faulty_http, faulty_store
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen
from tocsin.cli.serve import load_config, run_service
from tocsin.service.opening import Interceptors


def faulty_service(
    fault: Annotated[str, typer.Argument(help=f"Fault to inject: {', '.join(NAMES)}.")],
    *,
    data: Annotated[Path, typer.Option(help="Folder of everything durable.")],
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65535)],
    is_json: Json = False,
) -> None:
    """Run the service with a fault that a check of the demo must catch."""
    screen = Screen(is_json=is_json)
    if fault not in NAMES:
        advice = f"one of: {', '.join(NAMES)}"
        screen.fail(CommandFault(f"no fault is called {fault!r}", advice, exit_code=EXIT_USAGE))
    interceptors = Interceptors(
        store=partial(faulty_store, name=fault), http=partial(faulty_http, name=fault)
    )
    run_service(screen, lambda: load_config(None, data, {"server.port": port}), interceptors)


if __name__ == "__main__":
    typer.run(faulty_service)
