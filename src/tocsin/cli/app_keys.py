"""`tocsin app key`: changes the key that signs an app's UserSigs, while back ends go on signing."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin.cli.app_add import SdkAppId
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run

KEY_FILE_MAX_BYTES = 4096


def app_key_rotate(
    sdkappid: SdkAppId,
    *,
    key_file: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            allow_dash=True,
            help="File with the new key, or - for standard input. Default: a new one is made.",
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Give an app a new key. The former one goes on verifying until it is dropped.

    UserSigs that either of the two has signed pass; `tocsin usersig` signs with the new one. Once
    every back end signs with it: tocsin app key drop-former.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        key = "" if key_file is None else read_key(key_file)
        async with operator_of(data) as operator:
            done = await operator.app_key_rotate(sdkappid, key)

        def show() -> None:
            screen.facts(done)
            screen.note(
                "\n[dim]next:[/]  sign with it everywhere, then  "
                f"tocsin app key drop-former {sdkappid} --data {data}"
            )

        if key_file is not None:
            # The operator has the key: it need not stand on the screen too.
            done.pop("key")
        screen.result(done, show)

    run(screen, work())


def app_key_drop_former(
    sdkappid: SdkAppId, *, data: Data = DEFAULT_DATA, is_json: Json = False
) -> None:
    """End the overlap: UserSigs that the former key signed are refused at once."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            done = await operator.app_key_drop_former(sdkappid)
        said = "the former key is dropped" if done["dropped"] else "there was no former key"
        screen.result(done, lambda: screen.line(said))

    run(screen, work())


def read_key(path: Path) -> str:
    """A key from a file or standard input (`-`), without the line's end."""
    try:
        with contextlib.ExitStack() as stack:
            is_standard_input = str(path) == "-"
            file = sys.stdin.buffer if is_standard_input else stack.enter_context(path.open("rb"))
            raw = file.read(KEY_FILE_MAX_BYTES + 1)
    except OSError as fault:
        advice = "name a file that this user may read, or - for standard input"
        raise CommandFault(f"--key-file: {fault}", advice, exit_code=EXIT_USAGE) from fault
    try:
        key = raw.decode().strip()
    except UnicodeDecodeError:
        key = ""
    if not key or len(raw) > KEY_FILE_MAX_BYTES:
        advice = f"a text file of at most {KEY_FILE_MAX_BYTES} bytes that holds the key alone"
        raise CommandFault(f"--key-file: {path} does not hold a key", advice, exit_code=EXIT_USAGE)
    return key
