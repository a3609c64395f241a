"""Settings: one frozen tree, a struct per room, each field with its default and one sentence.

Sources in order: defaults, the TOML file, the environment (`TOCSIN_` and the path in capitals:
`TOCSIN_SERVER_PORT`), what the command line says. An unknown key stops the start and names the
nearest known one. docs/settings.md and tocsin.example.toml are made from this file.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.domain.proxy import Bypass, masked_proxy, parse_proxy

ENVIRONMENT = "TOCSIN_"
MASK = "***"
FORMER_ROOMS = {"outgoing": "http"}
"""Sections under the names that they had before, and what they are called now."""
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""What other programs take a proxy from, in capitals or not; this one does not."""

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


def _says(sentence: str, *, is_secret: bool = False, is_proxy: bool = False) -> Meta:
    return Meta(description=sentence, extra={"is_secret": is_secret, "is_proxy": is_proxy})


class Server(Struct, frozen=True, kw_only=True):
    """Where the service listens."""

    host: Annotated[str, _says("Address to listen on; `0.0.0.0` is every one of the machine.")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Meta(ge=0, le=65535), _says("Port to listen on; 0 takes a free one and says which.")
    ] = 8080
    tls_cert: Annotated[
        str, _says("PEM file with the certificate chain; empty serves plain HTTP.")
    ] = ""
    tls_key: Annotated[str, _says("PEM file with the certificate's private key.")] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        _says("Addresses of proxies whose X-Forwarded-For is believed; the lock-out counts by it."),
    ] = ("127.0.0.1",)
    keep_alive_s: Annotated[
        Count, _says("Seconds an idle connection of a caller is kept open.")
    ] = 75
    drain_s: Annotated[
        Seconds,
        _says(
            "Seconds that calls, and requests to vendors, under way are awaited when the service "
            "is told to stop. It ends within three seconds more: stay below what kills it."
        ),
    ] = 6.0
    restart_s: Annotated[
        Seconds,
        _says(
            "Seconds after which connected devices are asked to come back when the service stops: "
            "how long a restart takes. They come back spread over the five seconds and more after."
        ),
    ] = 5.0


class Log(Struct, frozen=True, kw_only=True):
    """What the service tells about itself."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _says("From which level on events are written; secrets are masked at every level."),
    ] = "info"
    format: Annotated[
        Literal["text", "json"], _says("Lines for people, or one JSON object a line.")
    ] = "text"


class Storage(Struct, frozen=True, kw_only=True):
    """Where everything durable is kept."""

    kind: Annotated[
        Literal["sqlite", "memory"],
        _says("`sqlite` keeps all in the data folder; `memory` forgets at the end, for trials."),
    ] = "sqlite"


class Secret(Struct, frozen=True, kw_only=True):
    """What seals the secrets in the store."""

    key: Annotated[
        str,
        _says(
            "64 hexadecimal digits; empty uses the file secret.key of the data folder.",
            is_secret=True,
        ),
    ] = ""
    former_key: Annotated[
        str,
        _says(
            "The key before it, until `tocsin secret rotate` has sealed everything anew.",
            is_secret=True,
        ),
    ] = ""


class Http(Struct, frozen=True, kw_only=True):
    """Connections to vendors."""

    http2_connections: Annotated[
        Count, _says("Connections to a vendor that speaks HTTP/2 only.")
    ] = 2
    connections: Annotated[Count, _says("Connections to any other vendor.")] = 32
    connect_max_s: Annotated[Seconds, _says("Seconds one connection may take to come up.")] = 10.0
    answer_max_s: Annotated[
        Seconds,
        _says(
            "Seconds a vendor's answer is waited for at most; each vendor's own time, 10 to 15 "
            "seconds, where that is less. What has none by then may have been shown."
        ),
    ] = 30.0
    proxy: Annotated[
        str,
        _says(
            "Proxy for all vendors, asked with CONNECT: `http://USER:PASSWORD@HOST:PORT`, or "
            "`https://` where it speaks TLS; empty goes direct. A credential may name its own.",
            is_proxy=True,
        ),
    ] = ""
    no_proxy: Annotated[
        tuple[str, ...],
        _says(
            "Hosts, domains with all below them, and networks (`10.0.0.0/8`) that are reached "
            "without any proxy; this machine always is."
        ),
    ] = ()
    proxy_ca: Annotated[
        str,
        _says("PEM file to trust a proxy with TLS by; empty trusts the system's authorities."),
    ] = ""


class Devices(Struct, frozen=True, kw_only=True):
    """Devices at the door."""

    new_per_minute: Annotated[
        int,
        Meta(ge=0),
        _says("First registrations a minute from one address to one app; 0 lifts the limit."),
    ] = 60
    connections_max: Annotated[
        Count, _says("Devices connected at once; more are asked to come back later.")
    ] = 100_000


class Dispatch(Struct, frozen=True, kw_only=True):
    """How much is under way at once."""

    jobs_max: Annotated[Count, _says("Jobs under way at once in this process.")] = 64
    queue_jobs_max: Annotated[
        Annotated[int, Meta(ge=2)], _says("Jobs of one credential under way at once.")
    ] = 8
    poll_s: Annotated[
        Seconds, _says("Longest wait for work that no hint announced, in seconds.")
    ] = 0.25
    wait_scale: Annotated[
        float,
        Meta(gt=0, le=1),
        _says(
            "Factor on every wait between attempts, on breakers and probes; below 1 for tests "
            "only: vendors take requests in quick succession for an attack."
        ),
    ] = 1.0


class Keep(Struct, frozen=True, kw_only=True):
    """How long things are kept."""

    every_s: Annotated[Seconds, _says("Seconds between two rounds of housekeeping.")] = 60.0
    tasks_s: Annotated[Seconds, _says("Seconds that an ended push is kept with its books.")] = (
        604_800.0
    )
    change_log_s: Annotated[
        Seconds, _says("Seconds that changes of tags and attributes are kept at least.")
    ] = 604_800.0


class Config(Struct, frozen=True, kw_only=True):
    """The whole tree."""

    data: Annotated[str, _says("Folder of everything durable; one process opens it at a time.")] = (
        "data"
    )
    server: Server = Server()
    log: Log = Log()
    store: Storage = Storage()
    secret: Secret = Secret()
    http: Http = Http()
    devices: Devices = Devices()
    dispatch: Dispatch = Dispatch()
    keep: Keep = Keep()

    def __post_init__(self) -> None:
        if bool(self.server.tls_cert) != bool(self.server.tls_key):
            raise ValueError("server.tls_cert and server.tls_key go together")
        if self.secret.former_key and not self.secret.key:
            raise ValueError("secret.former_key goes with secret.key")
        try:
            if self.http.proxy:
                parse_proxy(self.http.proxy)
        except ValueError as fault:
            raise ValueError(f"http.proxy: {fault}") from None
        try:
            Bypass(self.http.no_proxy)
        except ValueError as fault:
            raise ValueError(f"http.no_proxy: {fault}") from None


class Setting(Struct, frozen=True, kw_only=True):
    """One field of the tree, as its documentation needs it."""

    path: str
    """Dotted: `server.port`."""
    kind: str
    default: Any
    sentence: str
    is_secret: bool
    is_proxy: bool
    """Whether it is a proxy's URL, of which only the password is secret."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT + self.path.upper().replace(".", "_")


class ConfigError(ValueError):
    """What is wrong with the settings, one line a fault, each beginning with its path."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def settings() -> list[Setting]:
    """Every setting, in the order of the tree."""
    return list(_settings(Config, ""))


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
    faults: list[str] = []
    tree = _from_file(file, faults) if file is not None else {}
    _take_environment(tree, environment or {}, faults)
    for path, value in (told or {}).items():
        _put(tree, path, value)
    if data is not None:
        tree["data"] = str(data)
    if faults:
        raise ConfigError(faults)
    try:
        # Environment variables are texts, so texts that read as numbers are numbers.
        return msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as fault:
        raise ConfigError([_by_path(str(fault))]) from fault


def check(file: Path | None, environment: Mapping[str, str]) -> list[str]:
    """What is wrong with a file and the environment; empty when nothing is."""
    try:
        load(file=file, environment=environment)
    except ConfigError as error:
        return error.faults
    return []


def show(config: Config) -> dict[str, Any]:
    """The effective values as a tree, secrets masked."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    for setting in settings():
        value = _get(tree, setting.path)
        if setting.is_secret and value:
            _put(tree, setting.path, MASK)
        elif setting.is_proxy:
            _put(tree, setting.path, masked_proxy(value))
    return tree


def unused_proxies(config: Config, environment: Mapping[str, str]) -> list[str]:
    """Names of the environment's variables with a proxy that this service does not go through."""
    known = {name for each in PROXY_VARIABLES for name in (each, each.lower())}
    return sorted(
        name
        for name, value in environment.items()
        if name in known and value and value != config.http.proxy
    )


def page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Generated from `src/tocsin/config.py`; `make docs` writes it anew. Sources in order:",
        "defaults, the file given with `--config`, the environment, the command line.",
        "`tocsin check-config` says what is wrong, `tocsin show-config` what is in force.",
        "",
        "| Setting | Environment | Default | What it does |",
        "|---|---|---|---|",
    ]
    for each in settings():
        default = _toml(each.default)
        lines.append(f"| `{each.path}` | `{each.variable}` | `{default}` | {each.sentence} |")
    return "\n".join(lines) + "\n"


def example() -> str:
    """tocsin.example.toml: every setting with its default, commented out."""
    lines = ["# Every setting with its default. Take out the # of what you change.", ""]
    room = ""
    for each in settings():
        head, _, name = each.path.rpartition(".")
        if head != room:
            room = head
            lines += [f"[{room}]", ""]
        lines += [f"# {each.sentence} ({each.kind})", f"#{name} = {_toml(each.default)}", ""]
    return "\n".join(lines)


def _settings(form: type[Struct], prefix: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(form, include_extras=True)
    for field in msgspec.structs.fields(form):
        hint = hints[field.name]
        path = prefix + field.name
        if isinstance(hint, type) and issubclass(hint, Struct):
            yield from _settings(hint, f"{path}.")
            continue
        metas = [meta for meta in hint.__metadata__ if meta.description]
        yield Setting(
            path=path,
            kind=_kind(hint.__origin__),
            default=field.default,
            sentence=metas[-1].description,
            is_secret=bool(metas[-1].extra["is_secret"]),
            is_proxy=bool(metas[-1].extra["is_proxy"]),
        )


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    return "list of texts" if typing.get_origin(hint) is tuple else str(_KINDS[hint])


_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _from_file(file: Path, faults: list[str]) -> dict[str, Any]:
    try:
        tree = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError([f"{file}: {fault}"]) from fault
    known = [setting.path for setting in settings()]
    rooms = {path.rpartition(".")[0] for path in known} - {""}
    for path, value in _leaves(tree, "", rooms):
        if path in rooms and not isinstance(value, dict):
            faults.append(f"{path}: is a section: write [{path}]")
        elif path not in known:
            faults.append(f"{path}: unknown setting{_hint(path, known)}")
    return tree


def _leaves(tree: Mapping[str, Any], prefix: str, rooms: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        path = prefix + name
        if isinstance(value, dict) and (value or path in rooms):
            yield from _leaves(value, f"{path}.", rooms)
        else:
            yield path, value


def _take_environment(
    tree: dict[str, Any], environment: Mapping[str, str], faults: list[str]
) -> None:
    known = {setting.variable: setting for setting in settings()}
    heads = {setting.path.partition(".")[0] for setting in settings() if "." in setting.path}
    rooms = tuple(f"{ENVIRONMENT}{head.upper()}_" for head in (*heads, *FORMER_ROOMS))
    for name, text in environment.items():
        setting = known.get(name)
        if setting is not None:
            is_list = setting.kind == "list of texts"
            _put(tree, setting.path, _split(text) if is_list else text)
        elif name.startswith(rooms):
            faults.append(f"{name}: unknown setting{_hint(name, list(known))}")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _hint(name: str, known: list[str]) -> str:
    for former, present in FORMER_ROOMS.items():
        for written in (f"{former}.", f"{ENVIRONMENT}{former.upper()}_"):
            now = written.replace(former, present).replace(former.upper(), present.upper())
            if name.startswith(written) and now + name.removeprefix(written) in known:
                return f"; it is called {now + name.removeprefix(written)} now"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?" if near else ""


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *rooms, name = path.split(".")
    for room in rooms:
        tree = tree.setdefault(room, {})
    tree[name] = value


def _get(tree: Mapping[str, Any], path: str) -> Any:
    value: Any = tree
    for name in path.split("."):
        value = value[name]
    return value


def _by_path(message: str) -> str:
    """`Expected … - at `$.server.port`` with the path first."""
    what, _, where = message.rpartition(" - at `$")
    return f"{where.strip('.`')}: {what}" if what else message


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()
