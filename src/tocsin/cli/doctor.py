"""`tocsin doctor`: checks what goes wrong in practice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from tocsin.cli.credential_check import check_one
from tocsin.cli.operator import DEFAULT_DATA, Data, OperatorActions, operator_of
from tocsin.cli.screen import EXIT_REFUSED, Json, Screen, run
from tocsin.cli.serve import ConfigFile
from tocsin.client.json_http import Refused, Unreachable
from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.clock import SystemClock
from tocsin.config import Config, load
from tocsin.domain.checkup import Finding, Level, judge_end
from tocsin.errors import CallError, SetupError, StoreError
from tocsin.service.opening import DATABASE
from tocsin.service.tls import end_of
from tocsin.settings import ConfigError

COLORS = {"ok": "green", "warn": "yellow", "bad": "red"}
VERDICTS: dict[str, Level] = {"good": "ok", "wrong": "bad", "refused": "bad", "unclear": "warn"}
"""A vendor's verdict on a credential to the level of the finding."""


def doctor(
    *,
    is_asking: Annotated[
        bool,
        typer.Option(
            "--ask", help="Ask each vendor about each credential first, with a push to nobody."
        ),
    ] = False,
    config: ConfigFile = None,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Check everything that goes wrong in practice, and say what to do about it.

    Checks settings, TLS certificate, data folder, disk, write-ahead log, open files, backlog, apps,
    credentials and what stops them, and our clock against the vendors'. A running service makes the
    checks itself; without one the command opens the data folder. Nothing is changed. Exit code 1 if
    anything is bad; a warning can wait.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        findings = [*_of_settings(config, data), *await _of_service(data, is_asking=is_asking)]
        screen.result(msgspec.to_builtins(findings), lambda: _show(screen, findings))
        if any(it.level == "bad" for it in findings):
            raise typer.Exit(EXIT_REFUSED)

    run(screen, work())


def _of_settings(file: Path | None, data: Path) -> list[Finding]:
    try:
        config = load(data=data, file=file, environment=os.environ)
    except ConfigError as faults:
        todo = "tocsin check-config says what is allowed"
        return [
            Finding(check="settings", level="bad", said=str(fault), todo=todo)
            for fault in faults.faults
        ]
    fine = Finding(check="settings", level="ok", said="nothing wrong with file and environment")
    return [fine, *_of_certificate(config)]


def _of_certificate(config: Config) -> list[Finding]:
    chain = config.server.tls_cert
    if not chain:
        return []
    todo = f"put a new one in place of {chain}, then: tocsin reload"
    try:
        ends_at = end_of(Path(chain)).timestamp()
    except (OSError, ValueError) as fault:
        return [Finding(check="TLS certificate", level="bad", said=str(fault), todo=todo)]
    return [judge_end("TLS certificate", ends_at, SystemClock().now(), todo)]


async def _of_service(data: Path, *, is_asking: bool) -> list[Finding]:
    """The findings of a running service, or those in the data folder."""
    path = admin_socket(data)
    start = f"tocsin serve --data {data} --port 8080"
    if path is None and not (data / DATABASE).exists():
        said = f"no data folder of Tocsin: {data}"
        return [Finding(check="data folder", level="bad", said=said, todo=f"{start}, or --data")]
    try:
        first = await _running(path) if path else _not_running(start)
        async with operator_of(data) as operator:
            asked = await _asked(operator) if is_asking else []
            rows = await operator.doctor()
        return [first, *msgspec.convert(rows, list[Finding]), *asked]
    except SetupError as fault:
        said, todo = fault.what, fault.advice
    except StoreError as fault:
        said, todo = str(fault), "is the disk full or damaged? Else restore a backup"
    except Unreachable as fault:
        said, todo = f"no answer from {fault}", "see its log; restart it"
    except (Refused, CallError) as fault:
        said, todo = f"{fault.code} {fault.info}", "see its log; is it of another release?"
    return [Finding(check="data folder", level="bad", said=said, todo=todo)]


async def _running(path: Path) -> Finding:
    async with AdminSocket(path) as admin:
        status = await admin.status()
    said = f"{status['version']} at {status['url']}, process {status['pid']}"
    return Finding(check="service", level="ok", said=said)


def _not_running(start: str) -> Finding:
    said = "none is running on the data folder"
    return Finding(check="service", level="warn", said=said, todo=start)


async def _asked(operator: OperatorActions) -> list[Finding]:
    """The vendor's verdict on each enabled credential."""
    asked = [
        (app["sdkappid"], it["number"])
        for app in await operator.app_list()
        for it in await operator.credential_list(app["sdkappid"])
        if it["is_enabled"]
    ]
    trials = await asyncio.gather(*(check_one(operator, *each) for each in asked))
    return [
        Finding(
            check=f"vendor of credential {number} of {sdkappid}",
            level=VERDICTS[trial["verdict"]],
            said=" ".join(filter(None, (trial["verdict"], trial["code"], trial["said"]))),
            todo=trial.get("advice", ""),
        )
        for (sdkappid, number), trial in zip(asked, trials, strict=True)
    ]


def _show(screen: Screen, findings: Sequence[Finding]) -> None:
    width = max(len(it.check) for it in findings)
    for it in findings:
        mark = f"[{COLORS[it.level]}]{it.level:<4}[/]"
        screen.line(f"{mark}  {escape(it.check.ljust(width))}  {escape(it.said)}")
        if it.todo:
            screen.line(f"{'':<{width + 8}}[dim]do:[/] {escape(it.todo)}")
