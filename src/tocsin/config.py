"""Settings: one frozen tree, a struct per section, each field with its default and one sentence.

Sources in order: defaults, the TOML file, the environment (`TOCSIN_` and the path in capitals:
`TOCSIN_SERVER_PORT`), options of the command line. An unknown key stops the start and names the
nearest known key; all faults are reported together. docs/settings.md and tocsin.example.toml are
generated from this file.
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
    APPS,
    MASK,
    ConfigError,
    Setting,
    WrongSetting,
    WrongValue,
    checked,
    from_file,
    masked_app,
    put,
    says,
    settings_of,
    shown,
    take_apps,
    take_environment,
    value_at,
)

FORMER_SECTIONS = {"outgoing": "http"}
"""Former names of sections, with their present names."""
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Variables that name a proxy to other programs, in capitals or not; the service ignores them."""

DEFAULT_METRICS = "127.0.0.1:9464"
"""On loopback, because metrics show who pushes how much; a port that other exporters use, too."""

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class ServerSettings(Struct, frozen=True, kw_only=True):
    """The public address, and how connections to it end."""

    host: Annotated[
        tuple[str, ...],
        says(
            "Addresses to listen on; `0.0.0.0` is every IPv4 address of the machine, `::` every "
            "address, IPv4 and IPv6.",
            check=check_hosts,
        ),
    ] = ("127.0.0.1",)
    port: Annotated[
        int, Meta(ge=0, le=PORT_MAX), says("Port to listen on; 0 takes a free port and prints it.")
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
            "Addresses of proxies whose X-Forwarded-For is believed; the lock-out uses the address "
            "that they name.",
            check=check_trusted_proxies,
        ),
    ] = ("127.0.0.1",)
    connections_per_address_max: Annotated[
        int,
        Meta(ge=0),
        says(
            "Connections of one client address at once. An IPv6 /64 counts as one address, behind "
            "a trusted proxy the address that the proxy names counts, and this machine is not "
            "limited. 0: a quarter of the devices that may be connected, because phones share "
            "addresses."
        ),
    ] = 0
    keep_alive_s: Annotated[Count, says("Seconds an idle connection of a caller is kept open.")] = (
        75
    )
    drain_s: Annotated[
        Seconds,
        says(
            "Seconds to wait for calls and for requests to vendors that are under way when the "
            "service stops. It ends within three seconds more: stay below the time after which a "
            "service manager kills it.",
            is_reloadable=True,
        ),
    ] = 6.0
    restart_s: Annotated[
        Seconds,
        says(
            "Seconds that a restart takes: when the service stops, connected devices are asked to "
            "come back after them, spread over five seconds or more."
        ),
    ] = 5.0


class LogSettings(Struct, frozen=True, kw_only=True):
    """The service's log."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        says(
            "Lowest level that is written; secrets are masked at every level.",
            is_reloadable=True,
        ),
    ] = "info"
    format: Annotated[
        Literal["text", "json"],
        says("Lines for people, or one JSON object for each line.", is_reloadable=True),
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
            "Size at which `log.file` is renamed to `….1` and a new file begins; 0: never, for "
            "another program that rotates the file and then asks for a reload.",
            is_reloadable=True,
        ),
    ] = 50_000_000
    files_kept: Annotated[
        Count,
        says("Renamed files `….1`, `….2` and so on that are kept.", is_reloadable=True),
    ] = 5


class MetricsSettings(Struct, frozen=True, kw_only=True):
    """Metrics for Prometheus."""

    listen: Annotated[
        str,
        says(
            "Address and port of `GET /metrics`, in plain HTTP; port 0 takes a free port, empty "
            "serves no metrics. If the default port is in use, the service runs without metrics.",
            check=check_place,
        ),
    ] = DEFAULT_METRICS
    token: Annotated[
        str,
        says(
            "Token that `Authorization: Bearer` must hold, of 16 characters or more; empty: none.",
            is_secret=True,
            is_reloadable=True,
            check=check_bearer,
        ),
    ] = ""


class StoreSettings(Struct, frozen=True, kw_only=True):
    """The store of everything durable."""

    kind: Annotated[
        Literal["sqlite", "memory"],
        says(
            "`sqlite` keeps all data in the data folder; `memory`, for trials, loses it at the end."
        ),
    ] = "sqlite"


class SecretSettings(Struct, frozen=True, kw_only=True):
    """The key that seals the secrets in the store."""

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
            "The key before `secret.key`, until `tocsin secret rotate` has sealed everything anew.",
            is_secret=True,
            check=check_secret_key,
        ),
    ] = ""


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Connections to vendors."""

    http2_connections: Annotated[
        Count, says("Connections to a vendor that speaks only HTTP/2.")
    ] = 2
    connections: Annotated[Count, says("Connections to any other vendor.")] = 32
    connect_max_s: Annotated[Seconds, says("Seconds that opening a connection may take.")] = 10.0
    answer_max_s: Annotated[
        Seconds,
        says(
            "Seconds to wait for a vendor's answer at most, or the vendor's own time of 10 to 15 "
            "seconds if that is less. A push without an answer by then may have been shown."
        ),
    ] = 30.0
    proxy: Annotated[
        str,
        says(
            "Proxy to all vendors, by CONNECT: `http://USER:PASSWORD@HOST:PORT`, or `https://` for "
            "a proxy that speaks TLS; empty: no proxy. A credential may name its own.",
            is_proxy=True,
            check=check_plain_proxy,
        ),
    ] = ""
    no_proxy: Annotated[
        tuple[str, ...],
        says(
            "Hosts, domains with their subdomains, and networks (`10.0.0.0/8`) that are reached "
            "without a proxy; this machine always is.",
            check=Bypass,
        ),
    ] = ()
    proxy_ca: Annotated[
        str,
        says(
            "PEM file of authorities for a proxy that speaks TLS; empty: the system's authorities."
        ),
    ] = ""


class DeviceSettings(Struct, frozen=True, kw_only=True):
    """Registrations and connections of devices."""

    new_per_minute: Annotated[
        int,
        Meta(ge=0),
        says(
            "First registrations a minute from one address to one app; 0: no limit.",
            is_reloadable=True,
        ),
    ] = 60
    connections_max: Annotated[
        int,
        Meta(ge=0),
        says(
            "Devices connected at once; more are asked to come back later. 0: as many as the limit "
            "of open files allows, at most 100,000. A number above that limit stops the start."
        ),
    ] = 0


class DispatchSettings(Struct, frozen=True, kw_only=True):
    """How many jobs are under way at once."""

    jobs_max: Annotated[Count, says("Jobs under way at once in this process.")] = 64
    queue_jobs_max: Annotated[
        Annotated[int, Meta(ge=2)], says("Jobs of one credential under way at once.")
    ] = 8
    poll_s: Annotated[
        Seconds, says("Longest wait for a job that no hint announced, in seconds.")
    ] = 0.25
    wait_scale: Annotated[
        float,
        Meta(gt=0, le=1),
        says(
            "Factor on every wait between attempts, on breakers and probes; below 1 for tests "
            "only: vendors take requests in quick succession for an attack."
        ),
    ] = 1.0


class KeepSettings(Struct, frozen=True, kw_only=True):
    """Housekeeping, and how long data is kept."""

    every_s: Annotated[
        Seconds, says("Seconds between two rounds of housekeeping.", is_reloadable=True)
    ] = 60.0
    tasks_s: Annotated[
        Seconds,
        says("Seconds that an ended push is kept with its results.", is_reloadable=True),
    ] = 604_800.0
    change_log_s: Annotated[
        Seconds,
        says("Seconds that changes of tags and attributes are kept at least.", is_reloadable=True),
    ] = 604_800.0
    erasures_s: Annotated[
        Seconds,
        says(
            "Seconds that the names of erased accounts are kept, as keyed hashes, so that a "
            "restored backup loses these accounts again: keep them longer than backups."
        ),
    ] = 7_776_000.0


class Config(Struct, frozen=True, kw_only=True):
    """The whole tree."""

    data: Annotated[str, says("Folder of everything durable; one process opens it at a time.")] = (
        "data"
    )
    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    store: StoreSettings = StoreSettings()
    secret: SecretSettings = SecretSettings()
    http: HttpSettings = HttpSettings()
    devices: DeviceSettings = DeviceSettings()
    dispatch: DispatchSettings = DispatchSettings()
    keep: KeepSettings = KeepSettings()
    apps: tuple[dict[str, Any], ...] = ()
    """Apps with credentials as `[[apps]]` writes them; `api/declared_apps.py` checks them."""


Rule = tuple[tuple[str, str], Callable[[Config], bool], str]
"""Two paths that go together, a check of both, and the fault of the second if they do not."""

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
    options: Mapping[str, Any] | None = None,
) -> Config:
    """The settings in force; raises `ConfigError` with every fault.

    `options` are those of the command line, by dotted path; `data` is its data folder.
    """
    config, faults = read(data=data, file=file, environment=environment, options=options)
    if faults:
        raise ConfigError(faults)
    return config


def read(
    *,
    data: Path | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Config, list[WrongSetting]]:
    """The settings, with the default in place of each wrong one, and every fault."""
    faults: list[WrongSetting] = []
    tree = from_file(file, settings(), FORMER_SECTIONS, faults) if file is not None else {}
    sources = take_environment(tree, environment or {}, settings(), FORMER_SECTIONS, faults)
    data_option = {} if data is None else {"data": str(data)}
    for path, value in {**(options or {}), **data_option}.items():
        put(tree, path, value)
        sources.pop(path, None)
    valid: dict[str, Any] = {}
    for setting in settings():
        value = value_at(tree, setting.path)
        if value is not None:
            _take(setting, value, valid, faults, source=sources.get(setting.path, ""))
    valid[APPS] = take_apps(tree, environment or {}, faults)
    config = msgspec.convert(valid, Config)
    wrong = {fault.path for fault in faults}
    for paths, holds, what in RULES:
        if not wrong & set(paths) and not holds(config):
            faults.append(WrongSetting(path=paths[1], what=what))
    return config, faults


def _take(
    setting: Setting, value: Any, valid: dict[str, Any], faults: list[WrongSetting], *, source: str
) -> None:
    """Puts a value into the tree of valid ones, or its fault into `faults`."""
    try:
        put(valid, setting.path, checked(setting, value))
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
    """Every fault of a file and the environment."""
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
    """The settings that differ between two trees."""
    old, new = msgspec.to_builtins(config), msgspec.to_builtins(wanted)
    return [
        setting
        for setting in settings()
        if value_at(old, setting.path) != value_at(new, setting.path)
    ]


def with_settings(config: Config, wanted: Config, chosen: Sequence[Setting]) -> Config:
    """The tree `config` with the chosen settings of the tree `wanted`."""
    tree, new = msgspec.to_builtins(config), msgspec.to_builtins(wanted)
    for setting in chosen:
        put(tree, setting.path, value_at(new, setting.path))
    return msgspec.convert(tree, Config)


def unused_proxies(config: Config, environment: Mapping[str, str]) -> list[str]:
    """Variables of the environment that name a proxy which the service does not use."""
    known = {name for each in PROXY_VARIABLES for name in (each, each.lower())}
    return sorted(
        name
        for name, value in environment.items()
        if name in known and value and value != config.http.proxy
    )
