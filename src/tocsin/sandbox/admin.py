"""The admin door: the same that tests do in-process, over plain HTTP on loopback.

It stands on a port of its own, so no vendor path is ever shadowed (`docs/sandbox.md`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from tocsin.domain.device import PUSH_PLATFORMS
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, State
from tocsin.sandbox.exchange import Call, Reply
from tocsin.sandbox.faults import Faults, Rule
from tocsin.sandbox.listener import Listener
from tocsin.sandbox.log import Field, Log
from tocsin.sandbox.real_hosts import RealHosts
from tocsin.sandbox.receipts import Receipts, ReceiptSettings

PAGE_MAX = 10_000
VENDORS = tuple(sorted(PUSH_PLATFORMS.keys() - {"online"}))


class Subject(Protocol):
    """What the admin door needs of a sandbox."""

    faults: Faults
    devices: DeviceBook
    log: Log
    receipts: Receipts
    listeners: dict[str, Listener]
    hosts: RealHosts

    def expire_bearers(self) -> int: ...

    def describe(self) -> dict[str, Any]: ...

    def apns_identity(self, bundle_id: str) -> str: ...

    def tokens(self, vendor: str, offset: int, count: int) -> list[str]: ...

    def reset(self) -> None: ...


class PutDevice(Struct, forbid_unknown_fields=True):
    vendor: str
    token: str
    state: State = "live"
    since: float | None = None
    app: str | None = None

    def __post_init__(self) -> None:
        if self.vendor not in VENDORS:
            raise ValueError(f"vendor is one of {', '.join(VENDORS)}")


class PutDevices(Struct, forbid_unknown_fields=True):
    devices: list[PutDevice]


class Drop(Struct, forbid_unknown_fields=True):
    vendor: str


class Identity(Struct, forbid_unknown_fields=True):
    bundle_id: str


class _Mistake(Exception):
    """The caller is wrong; the text says how."""


Query = dict[str, str]


class Admin:
    """A table of routes over one sandbox."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._routes: dict[tuple[str, str], Callable[[Call, Query], Any]] = {
            ("GET", "/v1/sandbox"): self._describe,
            ("GET", "/v1/faults"): self._list_faults,
            ("POST", "/v1/faults"): self._add_fault,
            ("DELETE", "/v1/faults"): self._remove_faults,
            ("GET", "/v1/devices"): self._list_devices,
            ("POST", "/v1/devices"): self._put_devices,
            ("GET", "/v1/tokens"): self._list_tokens,
            ("GET", "/v1/log"): self._list_log,
            ("GET", "/v1/log/counts"): self._count_log,
            ("GET", "/v1/log/duplicates"): self._list_duplicates,
            ("GET", "/v1/receipts"): self._show_receipts,
            ("POST", "/v1/receipts"): self._set_receipts,
            ("POST", "/v1/identity"): self._issue_identity,
            ("POST", "/v1/expire_bearers"): self._expire_bearers,
            ("POST", "/v1/drop_connections"): self._drop_connections,
            ("POST", "/v1/reset"): self._reset,
        }

    def __call__(self, call: Call) -> Reply:
        url = urlsplit(call.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        path = url.path.rstrip("/")
        if path.startswith("/v1/faults/"):
            path, _, query["number"] = path.rpartition("/")
        route = self._routes.get((call.method, path))
        if route is None:
            known = any(path == one for _, one in self._routes)
            text = f"{call.method} is not for this path" if known else f"no such path: {path}"
            return _json(405 if known else 404, {"error": text})
        try:
            return _json(200, route(call, query))
        except (msgspec.MsgspecError, _Mistake) as fault:
            return _json(400, {"error": str(fault)})

    def _describe(self, call: Call, query: Query) -> Any:
        del call, query
        return self._subject.describe()

    def _list_faults(self, call: Call, query: Query) -> Any:
        del call, query
        return {"faults": self._subject.faults.armed()}

    def _add_fault(self, call: Call, query: Query) -> Any:
        del query
        rule = msgspec.json.decode(call.body, type=Rule)
        try:
            return {"number": self._subject.faults.add(rule)}
        except ValueError as fault:
            raise _Mistake(str(fault)) from fault

    def _remove_faults(self, call: Call, query: Query) -> Any:
        del call
        if "number" not in query:
            self._subject.faults.clear()
            return {}
        if not self._subject.faults.remove(_number(query, "number", 0)):
            raise _Mistake(f"no fault with number {query['number']}")
        return {}

    def _list_devices(self, call: Call, query: Query) -> Any:
        del call
        vendor = query.get("vendor", "apns")
        if "token" in query:
            device = self._subject.devices.known(vendor, query["token"])
            return {"devices": [] if device is None else [_device(device)]}
        offset, count = _number(query, "offset", 0), _page(query)
        devices = self._subject.devices.all_of(vendor)
        page = [_device(device) for device in devices[offset : offset + count]]
        return {"devices": page, "total": len(devices)}

    def _put_devices(self, call: Call, query: Query) -> Any:
        del query
        wanted = msgspec.json.decode(call.body, type=PutDevices)
        for one in wanted.devices:
            self._subject.devices.put(
                one.vendor, one.token, one.state, since=one.since, app=one.app
            )
        return {"count": len(wanted.devices)}

    def _list_tokens(self, call: Call, query: Query) -> Any:
        del call
        vendor = self._vendor(query.get("vendor", ""))
        offset, count = max(0, _number(query, "offset", 0)), _page(query)
        return {"tokens": self._subject.tokens(vendor, offset, count)}

    def _list_log(self, call: Call, query: Query) -> Any:
        del call
        entries = self._subject.log.entries(
            vendor=query.get("vendor", ""),
            token=query.get("token", ""),
            after=_number(query, "after", 0),
            accepted={"true": True, "false": False}.get(query.get("accepted", "")),
        )
        page = list(itertools.islice(entries, _page(query)))
        return {"entries": page, "after": page[-1].sequence if page else None}

    def _count_log(self, call: Call, query: Query) -> Any:
        del call, query
        refused = {
            name: listener.connections_refused for name, listener in self._subject.listeners.items()
        }
        return {
            **msgspec.to_builtins(self._subject.log.counts()),
            "connections_refused": refused,
        }

    def _list_duplicates(self, call: Call, query: Query) -> Any:
        del call
        names = query.get("by", "vendor,token,collapse").split(",")
        try:
            fields = msgspec.convert(names, list[Field])
        except msgspec.ValidationError as fault:
            raise _Mistake(f"by: {fault}") from fault
        found = self._subject.log.duplicates(*fields)
        rows = [dict(zip(fields, key, strict=True), count=count) for key, count in found.items()]
        return {"duplicates": rows, "is_complete": self._subject.log.counts().is_complete}

    def _show_receipts(self, call: Call, query: Query) -> Any:
        del call, query
        receipts = self._subject.receipts
        return {"settings": receipts.settings, "stats": receipts.stats()}

    def _set_receipts(self, call: Call, query: Query) -> Any:
        receipts = self._subject.receipts
        receipts.settings = msgspec.json.decode(call.body, type=ReceiptSettings)
        return self._show_receipts(call, query)

    def _issue_identity(self, call: Call, query: Query) -> Any:
        del query
        wanted = msgspec.json.decode(call.body, type=Identity)
        return {"identity_pem": self._subject.apns_identity(wanted.bundle_id)}

    def _expire_bearers(self, call: Call, query: Query) -> Any:
        del call, query
        return {"count": self._subject.expire_bearers()}

    def _drop_connections(self, call: Call, query: Query) -> Any:
        del query
        vendor = self._vendor(msgspec.json.decode(call.body, type=Drop).vendor)
        dropped = self._subject.listeners[vendor].drop_connections()
        return {"count": dropped + self._subject.hosts.drop_connections(vendor)}

    def _reset(self, call: Call, query: Query) -> Any:
        del call, query
        self._subject.reset()
        return {}

    def _vendor(self, name: str) -> str:
        if name not in self._subject.listeners:
            raise _Mistake(f"no vendor named {name}; there are {', '.join(VENDORS)}")
        return name


def _device(device: SandboxDevice) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(device)
    fields["shown"] = list(fields["shown"].values())
    fields["held"] = [shown for shown, _ in fields["held"]]
    return fields


def _number(query: Query, name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError as fault:
        raise _Mistake(f"{name} is a number") from fault


def _page(query: Query) -> int:
    return max(0, min(_number(query, "count", 1000), PAGE_MAX))


def _json(status: int, answer: Any) -> Reply:
    return Reply(status, (("content-type", "application/json"),), msgspec.json.encode(answer))
