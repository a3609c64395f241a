"""Applies changed settings to the running service, and lists those that need a restart."""

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
"""Applies settings; answers what it has read anew beside them, such as a certificate.

Raises `SetupError` if the settings cannot be used; then nothing has changed.
"""


class ReloadablePart(Struct, frozen=True):
    """A part of the service with the settings that it applies, by the beginnings of their paths.

    `take` is called at every reload, also if none of these settings has changed.
    """

    paths: tuple[str, ...]
    take: Take


class Reloaded(Struct, frozen=True, kw_only=True):
    """The result of a reload."""

    taken: list[str]
    """Paths of settings that have come into force, and files that were read anew."""
    needs_restart: list[str]
    """Paths of settings that have changed in the sources and come into force at a restart."""
    wrong: list[str]
    """Faults: what each of them concerns is as it was before."""


class Reloading:
    """Holds the settings in force, and applies changed settings while the service runs."""

    def __init__(
        self, config: Config, reread: Callable[[], Config], asked: asyncio.Event, metrics: Metrics
    ) -> None:
        """`reread` reads the sources of the settings again; a signal sets `asked`."""
        self.config = config
        self._reread = reread
        self._asked = asked
        self._metrics = metrics
        self._parts = [ReloadablePart(("log.",), _take_log)]
        self._lock = asyncio.Lock()
        self._began: Callable[[], None] = _ignore
        self._ended: Callable[[], None] = _ignore
        self._log = get_logger(__name__)

    def add(self, *parts: ReloadablePart) -> None:
        """Call these parts at each reload, too."""
        self._parts += parts

    def watch(self, began: Callable[[], None], ended: Callable[[], None]) -> None:
        """Call `began` when a reload begins and `ended` when it is over, whatever its result."""
        self._began, self._ended = began, ended

    async def run(self) -> None:
        """Reload at each signal, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def reload(self) -> Reloaded:
        """Read the sources again and apply what has changed; if one setting is wrong, none is."""
        async with self._lock:
            self._began()
            (result,) = await asyncio.gather(self._reload(), return_exceptions=True)
            self._ended()
        if isinstance(result, BaseException):
            # The running service goes on, whatever fault a reload meets.
            self._metrics.count("loop_errors", loop="reload")
            self._log.error("reload failed", exc_info=result)
            return Reloaded(taken=[], needs_restart=[], wrong=["failed: see the log"])
        if result.wrong:
            self._log.error("not all could be reloaded", **msgspec.structs.asdict(result))
        else:
            self._log.info("reloaded", **msgspec.structs.asdict(result))
        return result

    async def _reload(self) -> Reloaded:
        wrong: list[str] = []
        try:
            wanted = self._reread()
        except ConfigError as fault:
            wanted, wrong = self.config, list(map(str, fault.faults))
        self.config = msgspec.structs.replace(self.config, apps=wanted.apps)
        differing = changed_settings(self.config, wanted)
        changed = [setting for setting in differing if self._is_reloadable(setting, wanted)]
        later = [setting.path for setting in differing if setting not in changed]
        taken: list[str] = []
        for part in self._parts:
            await self._take(part, wanted, changed, taken, wrong)
        of_no_part = [setting for setting in changed if not _is_of(self._parts, setting)]
        self.config = with_settings(self.config, wanted, of_no_part)
        taken += [setting.path for setting in of_no_part]
        return Reloaded(taken=taken, needs_restart=later, wrong=wrong)

    def _is_reloadable(self, setting: Setting, wanted: Config) -> bool:
        """Whether a reload applies a change of the setting; it switches TLS neither on nor off."""
        is_switch = bool(self.config.server.tls_cert) != bool(wanted.server.tls_cert)
        return setting.is_reloadable and not (is_switch and setting.path.startswith(TLS))

    async def _take(
        self,
        part: ReloadablePart,
        wanted: Config,
        changed: Sequence[Setting],
        taken: list[str],
        wrong: list[str],
    ) -> None:
        own = [setting for setting in changed if setting.path.startswith(part.paths)]
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
            taken += [*(setting.path for setting in own), *more]


def _ignore() -> None:
    """Nothing watches the reloads."""


def _is_of(parts: Sequence[ReloadablePart], setting: Setting) -> bool:
    return any(setting.path.startswith(part.paths) for part in parts)


def start_log(config: Config) -> None:
    """Log as the settings say, to a file opened anew. Raises `SetupError` if that fails."""
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
