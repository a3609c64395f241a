"""A client for back ends: every REST command as a method, and the books of a push.

    async with Client(url, 1400000001, "admin", key=key) as client:
        await client.add_tag({"ann": ["vip"]})
        pushed = await client.push(notice("Hello", "Bob"), condition(tags_and=["vip"]))

A refused call raises `Refused` with the ErrorCode and ErrorInfo. Accounts that failed in a call
which succeeded are in the answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from msgspec import Struct

from tocsin.client.json_http import CONNECTIONS_MAX, JsonHttp
from tocsin.clock import Chance, Clock, SystemClock
from tocsin.domain.plan import AS_USER
from tocsin.domain.usersig import sign

Family = Literal["timpush", "all_member_push"]

OLD_NAMES = {"push": "im_push", "clear_all_tags": "im_remove_all_tags"}
"""Commands of the older family whose name is not `im_` and the new name."""

USERSIG_S = 86_400
"""Seconds for which a UserSig lasts that the client makes."""

PAGE = 10_000
"""Names on one page; the service makes each page from the whole of a push's books."""


class AccountFault(Struct, frozen=True):
    """One line of an ErrorList: an account that failed while others went through."""

    account: str
    code: int
    info: str = ""


class Pushed(Struct, frozen=True):
    """An accepted push."""

    task_id: str
    failures: list[AccountFault]


def notice(title: str, desc: str, *, ext: str = "", **more: Any) -> dict[str, Any]:
    """An OfflinePushInfo; `more` are further members in their wire spelling (`ApnsInfo`, …)."""
    info: dict[str, Any] = {"Title": title, "Desc": desc}
    if ext:
        info["Ext"] = ext
    return {**info, **more}


def condition(
    *,
    tags_or: Sequence[str] = (),
    tags_and: Sequence[str] = (),
    tags_not: Sequence[str] = (),
    attrs_or: Mapping[str, str] | None = None,
    attrs_and: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Condition with the members that are not empty; an empty Condition means everyone."""
    members: dict[str, Any] = {
        "TagsOr": list(tags_or),
        "TagsAnd": list(tags_and),
        "TagsNot": list(tags_not),
        "AttrsOr": dict(attrs_or or {}),
        "AttrsAnd": dict(attrs_and or {}),
    }
    return {name: value for name, value in members.items() if value}


def audience_of(books: Mapping[str, Any]) -> int:
    """A ledger's audience as people count it.

    Where a RegistrationID and its user are both in the audience, the books count both; here the two
    count as one person.
    """
    return int(books["audience"]) - int(books["without_device"].get(AS_USER, 0))


def without_device(books: Mapping[str, Any]) -> dict[str, int]:
    """How many of `audience_of` have no device, by reason."""
    return {reason: count for reason, count in books["without_device"].items() if reason != AS_USER}


def failures_of(answer: Mapping[str, Any]) -> list[AccountFault]:
    """The ErrorList of an answer; without one, every account went through."""
    return [
        AccountFault(line["To_Account"], line["ErrorCode"], line.get("ErrorInfo", ""))
        for line in answer.get("ErrorList") or []
    ]


class Client:
    """Calls the service as an administrator of one app.

    Give `usersig`, or the app's `key` to have UserSigs made as needed. `family` chooses the
    command set for push, tags and attributes: `timpush`, or the older `all_member_push`.
    """

    def __init__(
        self,
        base_url: str,
        sdkappid: int,
        identifier: str,
        *,
        usersig: str = "",
        key: str = "",
        family: Family = "timpush",
        ca_file: Path | None = None,
        connections_max: int = CONNECTIONS_MAX,
        clock: Clock | None = None,
    ) -> None:
        if not usersig and not key:
            raise ValueError("a Client needs a usersig, or the app's key to make one")
        self.sdkappid = sdkappid
        self.identifier = identifier
        self.http = JsonHttp(base_url, ca_file=ca_file, connections_max=connections_max)
        self._usersig = usersig
        self._key = key
        self._family = family
        self._clock = clock or SystemClock()
        self._chance = Chance()
        self._renew_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up the connections."""
        await self.http.close()

    @property
    def usersig(self) -> str:
        """The UserSig in use; made anew from the key before it runs out."""
        now = self._clock.now()
        if self._key and now >= self._renew_at:
            self._usersig = sign(self.sdkappid, self._key, self.identifier, USERSIG_S, now)
            self._renew_at = now + USERSIG_S / 2
        return self._usersig

    async def call(self, service: str, command: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call any command under `/v4/`, for those that have no method here."""
        params = {
            "usersig": self.usersig,
            "identifier": self.identifier,
            "sdkappid": str(self.sdkappid),
            "random": str(self._chance.bits(32)),
            "contenttype": "json",
        }
        return await self.http.ask("POST", f"/v4/{service}/{command}", body, params=params)

    async def _push_call(self, command: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._family == "timpush":
            return await self.call("timpush", command, body)
        name = OLD_NAMES.get(command, f"im_{command}")
        return await self.call("all_member_push", name, body)

    # push

    async def push(
        self,
        info: Mapping[str, Any],
        whom: Mapping[str, Any] | None = None,
        *,
        sender: str = "",
        msg_random: int | None = None,
        data_id: str = "",
        **more: Any,
    ) -> Pushed:
        """Push to everyone, or to the accounts that `condition(...)` names.

        `more` are further members in their wire spelling, such as `MsgBody` and `MsgLifeTime`.
        """
        body = self._message(info, sender, msg_random, data_id)
        if whom:
            body["Condition"] = dict(whom)
        answer = await self._push_call("push", {**body, **more})
        return Pushed(answer["TaskId"], failures_of(answer))

    async def batch(
        self,
        accounts: Sequence[str],
        info: Mapping[str, Any],
        *,
        sender: str = "",
        msg_random: int | None = None,
        data_id: str = "",
    ) -> Pushed:
        """Push to listed accounts, 500 at most."""
        body = self._message(info, sender, msg_random, data_id)
        body["To_Account"] = list(accounts)
        answer = await self.call("timpush", "batch", body)
        return Pushed(answer["TaskId"], failures_of(answer))

    async def revoke(self, task_id: str, info: Mapping[str, Any] | None = None) -> None:
        """Recall a push; `info` overwrites the notifications that were shown already."""
        body: dict[str, Any] = {"TaskId": task_id}
        if info is not None:
            body["OfflinePushInfo"] = dict(info)
        await self.call("timpush", "revoke", body)

    def _message(
        self, info: Mapping[str, Any], sender: str, msg_random: int | None, data_id: str
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "From_Account": sender or self.identifier,
            "MsgRandom": self._chance.bits(32) if msg_random is None else msg_random,
            "OfflinePushInfo": dict(info),
        }
        if data_id:
            body["DataId"] = data_id
        return body

    # attributes

    async def set_attr_name(
        self, names: Mapping[str, str], types: Mapping[str, int] | None = None
    ) -> None:
        """Name attribute slots "0" to "9"; `types` fixes their account type (1: RegistrationID)."""
        body: dict[str, Any] = {"AttrNames": dict(names)}
        if types:
            body["AttrTypes"] = dict(types)
        await self._push_call("set_attr_name", body)

    async def get_attr_name(self) -> dict[str, str]:
        """Slot to attribute name."""
        answer = await self._push_call("get_attr_name", {})
        return dict(answer["AttrNames"])

    async def set_attr(self, values: Mapping[str, Mapping[str, str]]) -> list[AccountFault]:
        """Set attributes by account; other attributes stay. 100 accounts at most."""
        lines = [{"To_Account": name, "Attrs": dict(attrs)} for name, attrs in values.items()]
        return failures_of(await self._push_call("set_attr", {"UserAttrs": lines}))

    async def get_attr(
        self, accounts: Sequence[str]
    ) -> tuple[dict[str, dict[str, str]], list[AccountFault]]:
        """The attributes of up to 100 accounts, and the accounts that failed."""
        answer = await self._push_call("get_attr", {"To_Account": list(accounts)})
        lines = answer.get("UserAttrs", [])
        return {line["To_Account"]: line["Attrs"] for line in lines}, failures_of(answer)

    async def remove_attr(self, names: Mapping[str, Sequence[str]]) -> list[AccountFault]:
        """Remove attributes by account and name."""
        lines = [{"To_Account": name, "Attrs": list(attrs)} for name, attrs in names.items()]
        return failures_of(await self._push_call("remove_attr", {"UserAttrs": lines}))

    # tags

    async def add_tag(
        self, tags: Mapping[str, Sequence[str]], *, is_replacing: bool = False
    ) -> list[AccountFault]:
        """Add tags by account; replacing removes every other tag of these accounts."""
        body: dict[str, Any] = {"UserTags": _tag_lines(tags)}
        if is_replacing:
            body["Replace"] = 1
        return failures_of(await self._push_call("add_tag", body))

    async def get_tag(
        self, accounts: Sequence[str]
    ) -> tuple[dict[str, list[str]], list[AccountFault]]:
        """The tags of up to 100 accounts, in the order first added, and the failed accounts."""
        answer = await self._push_call("get_tag", {"To_Account": list(accounts)})
        lines = answer.get("UserTags", [])
        return {line["To_Account"]: line["Tags"] for line in lines}, failures_of(answer)

    async def remove_tag(self, tags: Mapping[str, Sequence[str]]) -> list[AccountFault]:
        """Remove tags by account."""
        return failures_of(await self._push_call("remove_tag", {"UserTags": _tag_lines(tags)}))

    async def clear_all_tags(self, accounts: Sequence[str]) -> list[AccountFault]:
        """Remove every tag of up to 100 accounts."""
        body = {"To_Account": list(accounts)}
        return failures_of(await self._push_call("clear_all_tags", body))

    # accounts

    async def account_import(self, name: str, *, nick: str = "", face_url: str = "") -> None:
        """Create one account; importing it again changes `nick` and `face_url` alone."""
        body = {"UserID": name}
        body.update({k: v for k, v in (("Nick", nick), ("FaceUrl", face_url)) if v})
        await self.call("im_open_login_svc", "account_import", body)

    async def multiaccount_import(self, names: Sequence[str]) -> list[str]:
        """Create up to 100 accounts; answers the accounts that failed."""
        body = {"Accounts": list(names)}
        answer = await self.call("im_open_login_svc", "multiaccount_import", body)
        return list(answer.get("FailAccounts") or [])

    async def account_delete(self, names: Sequence[str]) -> dict[str, int]:
        """Delete up to 100 accounts; answers the code of each."""
        return await self._account_codes("account_delete", "DeleteItem", names)

    async def account_check(self, names: Sequence[str]) -> dict[str, bool]:
        """Whether each of up to 100 accounts exists."""
        body = {"CheckItem": [{"UserID": name} for name in names]}
        answer = await self.call("im_open_login_svc", "account_check", body)
        lines = answer["ResultItem"]
        return {line["UserID"]: line.get("AccountStatus") == "Imported" for line in lines}

    async def kick(self, name: str) -> None:
        """Void every UserSig issued to this account so far."""
        await self.call("im_open_login_svc", "kick", {"UserID": name})

    async def query_online_status(self, names: Sequence[str]) -> dict[str, str]:
        """`Online`, `PushOnline` or `Offline` for up to 500 accounts that exist."""
        body = {"To_Account": list(names)}
        answer = await self.call("openim", "query_online_status", body)
        return {line["To_Account"]: line["Status"] for line in answer.get("QueryResult", [])}

    async def _account_codes(
        self, command: str, field: str, names: Iterable[str]
    ) -> dict[str, int]:
        body = {field: [{"UserID": name} for name in names]}
        answer = await self.call("im_open_login_svc", command, body)
        return {line["UserID"]: line["ResultCode"] for line in answer["ResultItem"]}

    # the books (ours, not Tencent's)

    async def read(self, path: str, **params: str | int) -> dict[str, Any]:
        """Read any page under `/v1/apps/<sdkappid>/`, with the UserSig as bearer."""
        asked = {name: str(value) for name, value in params.items()}
        # The service learns from the parameter whose UserSig the bearer is.
        asked.setdefault("identifier", self.identifier)
        headers = {"Authorization": f"Bearer {self.usersig}"}
        where = f"/v1/apps/{self.sdkappid}/{path}"
        return await self.http.ask("GET", where, params=asked, headers=headers)

    async def task(self, task_id: str) -> dict[str, Any]:
        """One push: its message, its phase and its books."""
        return await self.read(f"tasks/{task_id}")

    async def tasks(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest pushes first."""
        answer = await self.read("tasks", limit=limit)
        return list(answer["tasks"])

    async def audience(self, task_id: str) -> AsyncIterator[str]:
        """Every account in the frozen audience of a push."""
        async for name in self._pages(f"tasks/{task_id}/audience", "accounts"):
            yield name

    async def task_devices(self, task_id: str, **asked: str) -> AsyncIterator[str]:
        """RegistrationIDs of a push: by `state`, by `leg` (a channel), or `mark` (`repeated`,
        `shortened`, `reached`, `clicked`); by `failure` or `undelivered`, as the ledger writes it.
        """
        async for name in self._pages(f"tasks/{task_id}/devices", "devices", **asked):
            yield name

    async def _pages(self, path: str, member: str, **asked: str) -> AsyncIterator[str]:
        after: int | None = 0
        while after is not None:
            answer = await self.read(path, after=after, limit=PAGE, **asked)
            for name in answer[member]:
                yield name
            after = answer.get("next")


def _tag_lines(tags: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    return [{"To_Account": name, "Tags": list(held)} for name, held in tags.items()]
