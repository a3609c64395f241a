"""Takes changed settings into the running service, and says what needs a restart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct

from tocsin.config import Config, changed_settings, with_settings
from tocsin.errors import CallError, SetupError, StoreError
from tocsin.log import LogFile, configure, get_logger
from tocsin.metrics import Metrics
from tocsin.settings import ConfigError, Setting

LOG_ADVICE = "log.file names a file in a folder that is there and that this user may write to"

TLS = "server.tls_"

Take = Callable[[Config], Awaitable[list[str]]]
"""Lets these settings come into force; answers what else was taken, such as a certificate.

Raises `SetupError` where they cannot be used, with everything as it was.
"""


class Part(Struct, frozen=True):
    """What takes the settings whose paths begin so; it is asked at every reload."""

    paths: tuple[str, ...]
    take: Take


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload came to."""

    taken: list[str]
    """Paths of settings that are in force now, and what was read anew."""
    needs_restart: list[str]
    """Paths of settings that are different in the sources and not in force."""
    wrong: list[str]
    """What could not be used: it is as it was before."""


class Reloading:
    """The settings in force, and how others come into force while the service runs."""

    def __init__(
        self, config: Config, reread: Callable[[], Config], asked: asyncio.Event, metrics: Metrics
    ) -> None:
        """`reread` looks at the sources of the settings again; `asked` is set by a signal."""
        self.config = config
        self._reread = reread
        self._asked = asked
        self._metrics = metrics
        self._parts: list[Part] = [Part(("log.",), _take_log)]
        self._lock = asyncio.Lock()
        self._told: tuple[Callable[[], None], Callable[[], None]] = (_nobody, _nobody)
        self._log = get_logger(__name__)

    def add(self, *parts: Part) -> None:
        """Let these parts take their settings, too."""
        self._parts += parts

    def tell(self, began: Callable[[], None], ended: Callable[[], None]) -> None:
        """Call these as a reload begins and when it is over, whatever it came to."""
        self._told = (began, ended)

    async def run(self) -> None:
        """Reload whenever the signal asks for it, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def reload(self) -> Reloaded:
        """Read the sources again. Settings of which one is wrong are not taken, none of them."""
        began, ended = self._told
        async with self._lock:
            began()
            (done,) = await asyncio.gather(self._reload(), return_exceptions=True)
            ended()
        if isinstance(done, BaseException):
            # Whatever a reload meets, the service that was asked goes on.
            self._metrics.count("loop_errors", loop="reload")
            self._log.error("reload failed", exc_info=done)
            return Reloaded(taken=[], needs_restart=[], wrong=["failed: see the log"])
        if done.wrong:
            self._log.error("not all could be reloaded", **msgspec.structs.asdict(done))
        else:
            self._log.info("reloaded", **msgspec.structs.asdict(done))
        return done

    async def _reload(self) -> Reloaded:
        wrong: list[str] = []
        try:
            wanted = self._reread()
        except ConfigError as fault:
            wanted, wrong = self.config, list(map(str, fault.faults))
        self.config = msgspec.structs.replace(self.config, apps=wanted.apps)
        changed = changed_settings(self.config, wanted)
        later = [it.path for it in changed if not self._is_taken(it, wanted)]
        changed = [it for it in changed if it.path not in later]
        taken: list[str] = []
        for part in self._parts:
            await self._take(part, wanted, changed, taken, wrong)
        rest = [it for it in changed if not _is_of(self._parts, it)]
        self.config = with_settings(self.config, wanted, rest)
        taken += [it.path for it in rest]
        return Reloaded(taken=taken, needs_restart=later, wrong=wrong)

    def _is_taken(self, setting: Setting, wanted: Config) -> bool:
        """Whether a running service takes a change of it: TLS is not switched on or off so."""
        is_switch = bool(self.config.server.tls_cert) != bool(wanted.server.tls_cert)
        return setting.is_reloadable and not (is_switch and setting.path.startswith(TLS))

    async def _take(
        self,
        part: Part,
        wanted: Config,
        changed: Sequence[Setting],
        taken: list[str],
        wrong: list[str],
    ) -> None:
        own = [it for it in changed if it.path.startswith(part.paths)]
        config = with_settings(self.config, wanted, own)
        try:
            more = await part.take(config)
        except SetupError as fault:
            wrong.append(f"{fault.what}; {fault.advice}")
        except ConfigError as fault:
            wrong += map(str, fault.faults)
        except (CallError, StoreError) as fault:
            wrong.append(str(fault))
        else:
            self.config = config
            taken += [*(it.path for it in own), *more]


def _nobody() -> None:
    """Nobody wants to know."""


def _is_of(parts: Sequence[Part], setting: Setting) -> bool:
    return any(setting.path.startswith(part.paths) for part in parts)


def start_log(config: Config) -> None:
    """Log as the settings say, to a file opened anew; raises `SetupError` where that cannot be."""
    log = config.log
    file = LogFile(path=log.file, max_bytes=log.file_max_bytes, kept=log.files_kept)
    try:
        configure(
            log.level,
            json=log.format == "json",
            stream=sys.stderr,
            file=file if log.file else None,
        )
    except OSError as fault:
        what = f"cannot log to {log.file}: {fault.strerror or fault}"
        raise SetupError(what, LOG_ADVICE) from fault


async def _take_log(config: Config) -> list[str]:
    start_log(config)
    return ["the log file, opened anew"] if config.log.file else []
