"""Settings: one frozen tree, a struct per section, each field with its default and one sentence.

Sources in order: defaults, the TOML file, the environment (`TOCSIN_` and the path in capitals:
`TOCSIN_SERVER_PORT`), what the command line says. An unknown key stops the start and names the
nearest known one; whatever is wrong is told together. docs/settings.md and tocsin.example.toml are
made from this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.domain.allowed import (
    PORT_MAX,
    check_bearer,
    check_hosts,
    check_place,
    check_plain_proxy,
    check_secret_key,
    check_trusted_proxies,
)
from tocsin.domain.proxy import Bypass, masked_proxy
from tocsin.settings import (
    MASK,
    ConfigError,
    Setting,
    WrongSetting,
    WrongValue,
    judge,
    says,
    settings_of,
    shown,
)
from tocsin.settings_sources import (
    APPS,
    from_file,
    masked_app,
    put,
    take_apps,
    take_environment,
    value_at,
)

FORMER_SECTIONS = {"outgoing": "http"}
"""Sections under the names that they had before, and what they are called now."""
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""What other programs take a proxy from, in capitals or not; this one does not."""

DEFAULT_METRICS = "127.0.0.1:9464"
"""Loopback, for the figures tell who pushes how much; the port that other exporters use, too."""

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Server(Struct, frozen=True, kw_only=True):
    """Where the service listens."""

    host: Annotated[
        tuple[str, ...],
        says(
            "Addresses to listen on; `0.0.0.0` is every IPv4 one of the machine, `::` every one, "
            "IPv4 and IPv6.",
            check=check_hosts,
        ),
    ] = ("127.0.0.1",)
    port: Annotated[
        int, Meta(ge=0, le=PORT_MAX), says("Port to listen on; 0 takes a free one and says which.")
    ] = 8080
    tls_cert: Annotated[
        str,
        says("PEM file with the certificate chain; empty serves plain HTTP.", is_reloadable=True),
    ] = ""
    tls_key: Annotated[
        str, says("PEM file with the certificate's private key.", is_reloadable=True)
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        says(
            "Addresses of proxies whose X-Forwarded-For is believed; the lock-out counts by it.",
            check=check_trusted_proxies,
        ),
    ] = ("127.0.0.1",)
    connections_per_address_max: Annotated[
        int,
        Meta(ge=0),
        says(
            "Connections of one client address at once; an IPv6 /64 counts as one, this machine is "
            "not limited, and behind a named proxy the address that it names counts. 0: a quarter "
            "of the devices that may be connected, because phones share addresses."
        ),
    ] = 0
    keep_alive_s: Annotated[Count, says("Seconds an idle connection of a caller is kept open.")] = (
        75
    )
    drain_s: Annotated[
        Seconds,
        says(
            "Seconds that calls, and requests to vendors, under way are awaited when the service "
            "is told to stop. It ends within three seconds more: stay below what kills it.",
            is_reloadable=True,
        ),
    ] = 6.0
    restart_s: Annotated[
        Seconds,
        says(
            "Seconds after which connected devices are asked to come back when the service stops: "
            "how long a restart takes. They come back spread over the five seconds and more after."
        ),
    ] = 5.0


class Log(Struct, frozen=True, kw_only=True):
    """What the service tells about itself."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        says(
            "From which level on events are written; secrets are masked at every level.",
            is_reloadable=True,
        ),
    ] = "info"
    format: Annotated[
        Literal["text", "json"],
        says("Lines for people, or one JSON object a line.", is_reloadable=True),
    ] = "text"
    file: Annotated[
        str,
        says(
            "File to log to instead of standard error; only its owner may read it.",
            is_reloadable=True,
        ),
    ] = ""
    file_max_bytes: Annotated[
        int,
        Meta(ge=0),
        says(
            "Size from which on `log.file` is renamed to `….1` and begun anew; 0: never, where "
            "another program rotates it and sends a reload.",
            is_reloadable=True,
        ),
    ] = 50_000_000
    files_kept: Annotated[
        Count,
        says("Renamed files `….1`, `….2` and so on that are kept.", is_reloadable=True),
    ] = 5


class MetricsListen(Struct, frozen=True, kw_only=True):
    """Where the figures for Prometheus are."""

    listen: Annotated[
        str,
        says(
            "Address and port of `GET /metrics`, in plain HTTP; port 0 takes a free one, empty "
            "serves none. Where the default port is taken the service goes on without.",
            check=check_place,
        ),
    ] = DEFAULT_METRICS
    token: Annotated[
        str,
        says(
            "What `Authorization: Bearer` must say there, 16 characters or more; empty asks for "
            "nothing.",
            is_secret=True,
            is_reloadable=True,
            check=check_bearer,
        ),
    ] = ""


class Storage(Struct, frozen=True, kw_only=True):
    """Where everything durable is kept."""

    kind: Annotated[
        Literal["sqlite", "memory"],
        says("`sqlite` keeps all in the data folder; `memory` forgets at the end, for trials."),
    ] = "sqlite"


class Secret(Struct, frozen=True, kw_only=True):
    """What seals the secrets in the store."""

    key: Annotated[
        str,
        says(
            "64 hexadecimal digits; empty uses the file secret.key of the data folder.",
            is_secret=True,
            check=check_secret_key,
        ),
    ] = ""
    former_key: Annotated[
        str,
        says(
            "The key before it, until `tocsin secret rotate` has sealed everything anew.",
            is_secret=True,
            check=check_secret_key,
        ),
    ] = ""


class Http(Struct, frozen=True, kw_only=True):
    """Connections to vendors."""

    http2_connections: Annotated[
        Count, says("Connections to a vendor that speaks HTTP/2 only.")
    ] = 2
    connections: Annotated[Count, says("Connections to any other vendor.")] = 32
    connect_max_s: Annotated[Seconds, says("Seconds one connection may take to come up.")] = 10.0
    answer_max_s: Annotated[
        Seconds,
        says(
            "Seconds a vendor's answer is waited for at most; each vendor's own time, 10 to 15 "
            "seconds, where that is less. What has none by then may have been shown."
        ),
    ] = 30.0
    proxy: Annotated[
        str,
        says(
            "Proxy for all vendors, asked with CONNECT: `http://USER:PASSWORD@HOST:PORT`, or "
            "`https://` where it speaks TLS; empty goes direct. A credential may name its own.",
            is_proxy=True,
            check=check_plain_proxy,
        ),
    ] = ""
    no_proxy: Annotated[
        tuple[str, ...],
        says(
            "Hosts, domains with all below them, and networks (`10.0.0.0/8`) that are reached "
            "without any proxy; this machine always is.",
            check=Bypass,
        ),
    ] = ()
    proxy_ca: Annotated[
        str,
        says("PEM file to trust a proxy with TLS by; empty trusts the system's authorities."),
    ] = ""


class Devices(Struct, frozen=True, kw_only=True):
    """Devices at the door."""

    new_per_minute: Annotated[
        int,
        Meta(ge=0),
        says(
            "First registrations a minute from one address to one app; 0 lifts the limit.",
            is_reloadable=True,
        ),
    ] = 60
    connections_max: Annotated[
        int,
        Meta(ge=0),
        says(
            "Devices connected at once; more are asked to come back later. 0: what open files "
            "allow, at most 100,000. More than they allow is refused at the start."
        ),
    ] = 0


class Dispatch(Struct, frozen=True, kw_only=True):
    """How much is under way at once."""

    jobs_max: Annotated[Count, says("Jobs under way at once in this process.")] = 64
    queue_jobs_max: Annotated[
        Annotated[int, Meta(ge=2)], says("Jobs of one credential under way at once.")
    ] = 8
    poll_s: Annotated[
        Seconds, says("Longest wait for work that no hint announced, in seconds.")
    ] = 0.25
    wait_scale: Annotated[
        float,
        Meta(gt=0, le=1),
        says(
            "Factor on every wait between attempts, on breakers and probes; below 1 for tests "
            "only: vendors take requests in quick succession for an attack."
        ),
    ] = 1.0


class Keep(Struct, frozen=True, kw_only=True):
    """How long things are kept."""

    every_s: Annotated[
        Seconds, says("Seconds between two rounds of housekeeping.", is_reloadable=True)
    ] = 60.0
    tasks_s: Annotated[
        Seconds,
        says("Seconds that an ended push is kept with its books.", is_reloadable=True),
    ] = 604_800.0
    change_log_s: Annotated[
        Seconds,
        says("Seconds that changes of tags and attributes are kept at least.", is_reloadable=True),
    ] = 604_800.0
    erasures_s: Annotated[
        Seconds,
        says(
            "Seconds that it is kept, as keyed hashes, who was erased, to be erased again when a "
            "backup of before is restored: longer than backups are kept."
        ),
    ] = 7_776_000.0


class Config(Struct, frozen=True, kw_only=True):
    """The whole tree."""

    data: Annotated[str, says("Folder of everything durable; one process opens it at a time.")] = (
        "data"
    )
    server: Server = Server()
    log: Log = Log()
    metrics: MetricsListen = MetricsListen()
    store: Storage = Storage()
    secret: Secret = Secret()
    http: Http = Http()
    devices: Devices = Devices()
    dispatch: Dispatch = Dispatch()
    keep: Keep = Keep()
    apps: tuple[dict[str, Any], ...] = ()
    """Apps with credentials as they are written in `[[apps]]`; `api/declared_apps.py` judges."""


Rule = tuple[tuple[str, str], Callable[[Config], bool], str]
"""Two paths that go together, whether they do, and what is wrong with the second if not."""

RULES: tuple[Rule, ...] = (
    (
        ("server.tls_cert", "server.tls_key"),
        lambda config: bool(config.server.tls_cert) == bool(config.server.tls_key),
        "goes together with server.tls_cert: name both or neither",
    ),
    (
        ("secret.key", "secret.former_key"),
        lambda config: bool(config.secret.key or not config.secret.former_key),
        "goes with secret.key: name that too",
    ),
)


def settings() -> list[Setting]:
    """Every setting, in the order of the tree."""
    return list(settings_of(Config))


def load(
    *,
    data: Path | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    told: Mapping[str, Any] | None = None,
) -> Config:
    """The settings in force; raises `ConfigError` with everything that is wrong.

    `told` is what the command line says, by dotted path; `data` is short for its data folder.
    """
    config, faults = read(data=data, file=file, environment=environment, told=told)
    if faults:
        raise ConfigError(faults)
    return config


def read(
    *,
    data: Path | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    told: Mapping[str, Any] | None = None,
) -> tuple[Config, list[WrongSetting]]:
    """The settings, with the default in place of each that is wrong, and what is wrong."""
    faults: list[WrongSetting] = []
    tree = from_file(file, settings(), FORMER_SECTIONS, faults) if file is not None else {}
    sources = take_environment(tree, environment or {}, settings(), FORMER_SECTIONS, faults)
    for path, value in {**(told or {}), **({} if data is None else {"data": str(data)})}.items():
        put(tree, path, value)
        sources.pop(path, None)
    right: dict[str, Any] = {}
    for setting in settings():
        value = value_at(tree, setting.path)
        if value is not None:
            _take(setting, value, right, faults, source=sources.get(setting.path, ""))
    right[APPS] = take_apps(tree, environment or {}, faults)
    config = msgspec.convert(right, Config)
    wrong = {fault.path for fault in faults}
    for paths, holds, what in RULES:
        if not wrong & set(paths) and not holds(config):
            faults.append(WrongSetting(path=paths[1], what=what))
    return config, faults


def _take(
    setting: Setting, value: Any, right: dict[str, Any], faults: list[WrongSetting], *, source: str
) -> None:
    """Put a value into the tree of right ones, or tell what is wrong with it."""
    try:
        put(right, setting.path, judge(setting, value))
    except WrongValue as fault:
        faults.append(
            WrongSetting(
                path=setting.path,
                value=shown(setting, value),
                allowed=str(fault),
                near=fault.near,
                source=source,
            )
        )


def check(file: Path | None, environment: Mapping[str, str]) -> list[WrongSetting]:
    """All that is wrong with a file and the environment; empty when nothing is."""
    return read(file=file, environment=environment)[1]


def show(config: Config) -> dict[str, Any]:
    """The effective values as a tree, secrets masked."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    tree[APPS] = [masked_app(app) for app in config.apps]
    for setting in settings():
        value = value_at(tree, setting.path)
        if setting.is_secret and value:
            put(tree, setting.path, MASK)
        elif setting.is_proxy:
            put(tree, setting.path, masked_proxy(value))
    return tree


def changed_settings(config: Config, wanted: Config) -> list[Setting]:
    """The settings in which two trees differ."""
    old, new = msgspec.to_builtins(config), msgspec.to_builtins(wanted)
    return [it for it in settings() if value_at(old, it.path) != value_at(new, it.path)]


def with_settings(config: Config, wanted: Config, chosen: Sequence[Setting]) -> Config:
    """A tree with these settings of another one."""
    tree, new = msgspec.to_builtins(config), msgspec.to_builtins(wanted)
    for setting in chosen:
        put(tree, setting.path, value_at(new, setting.path))
    return msgspec.convert(tree, Config)


def unused_proxies(config: Config, environment: Mapping[str, str]) -> list[str]:
    """Names of the environment's variables with a proxy that this service does not go through."""
    known = {name for each in PROXY_VARIABLES for name in (each, each.lower())}
    return sorted(
        name
        for name, value in environment.items()
        if name in known and value and value != config.http.proxy
    )
