"""The wire format of pushes and recalls, which are read into a `PushAsk`.

Sources: tencentcloud.com/document/product/1047/60561, 67553, 60571 and 37166; message elements:
trtc.io/document/33527 (read 2026-11).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from tocsin.api.wire import (
    Answer,
    FailedAccount,
    bad_field,
    is_integer,
    is_shallow,
    is_within,
    read_account,
    read_flag,
    read_object,
)
from tocsin.api.wire_info import read_info
from tocsin.api.wire_labels import read_attrs, read_tags
from tocsin.domain.account import TermKey
from tocsin.domain.app import App
from tocsin.domain.audience import Condition
from tocsin.domain.message import Message
from tocsin.errors import CallError
from tocsin.pipeline.accept import PushAsk

TARGETS_MAX = 500
TAGS_ASKED_MAX = 10
RANDOM_MAX = 2**32 - 1
DATA_ID_MAX_BYTES = 64
MSG_BODY_MAX_BYTES = 12_288
LIFE_TIME_MAX_S = 604_800

Kind = Literal["push", "batch", "im_push"]


class TaskAnswer(Answer, kw_only=True):
    """push, batch and im_push; TaskId is empty when the call fails."""

    task_id: str = field(name="TaskId", default="")
    failures: list[FailedAccount] | UnsetType = field(name="ErrorList", default=UNSET)


class RevokeRequest(Struct, frozen=True):
    """A recall with every field checked."""

    task_id: str
    message: Message | None


def read_push(kind: Kind, app: App, identifier: str, body: dict[str, Any]) -> PushAsk:
    """A push call with every field checked, in the order of the documents' tables."""
    sender = read_account(body.get("From_Account", ""))
    accounts = read_targets(body.get("To_Account")) if kind == "batch" else ()
    msg_random = _read_random(kind, body.get("MsgRandom"))
    condition = Condition()
    if kind != "batch":
        condition = read_condition(app, body.get("Condition"))
    elements = _read_elements(body, is_required=kind == "im_push")
    ttl_s = _read_life_time(body) if kind == "im_push" else None
    message = _read_message(kind, body, elements)
    _check_storing(body)
    return PushAsk(
        kind=kind,
        identifier=identifier,
        sender=sender,
        msg_random=msg_random,
        message=message,
        condition=condition,
        accounts=accounts,
        data_id="" if kind == "im_push" else _read_data_id(body),
        msg_body=msgspec.json.encode(elements) if elements else b"",
        ttl_s=ttl_s,
    )


def read_revoke(body: dict[str, Any]) -> RevokeRequest:
    """A recall with every field checked."""
    task_id = body.get("TaskId")
    if not isinstance(task_id, str) or not task_id:
        raise bad_field("TaskId")
    info = body.get("OfflinePushInfo")
    return RevokeRequest(task_id, None if info is None else read_info(info))


def read_targets(value: object) -> tuple[str, ...]:
    """To_Account of batch."""
    if not isinstance(value, list):
        raise bad_field("To_Account")
    if not value:
        raise CallError(90029)
    if len(value) > TARGETS_MAX:
        raise CallError(90011)
    return tuple(read_account(account) for account in value)


def _read_random(kind: Kind, value: object) -> int:
    if isinstance(value, int) and is_integer(value) and 0 <= value <= RANDOM_MAX:
        return value
    raise bad_field("MsgRandom") if kind == "batch" else CallError(90005)


def _read_message(kind: Kind, body: dict[str, Any], elements: list[Any]) -> Message:
    info = body.get("OfflinePushInfo")
    if info is None and (kind == "batch" or not elements):
        raise CallError(90043, "OfflinePushInfo is missing")
    message = Message() if info is None else read_info(info)
    if elements and not message.desc:
        message = msgspec.structs.replace(message, desc=derived_text(elements))
    return message


def _read_data_id(body: dict[str, Any]) -> str:
    value = body.get("DataId", "")
    if not isinstance(value, str):
        raise bad_field("DataId")
    if not is_within(value, DATA_ID_MAX_BYTES):
        raise CallError(90057)
    return value


def _read_life_time(body: dict[str, Any]) -> int:
    value = body.get("MsgLifeTime", 0)
    if not is_integer(value):
        raise CallError(90044)
    if not 0 <= value <= LIFE_TIME_MAX_S:
        raise CallError(90026)
    return int(value)


def _check_storing(body: dict[str, Any]) -> None:
    """OnlineOnlyFlag is about storing chat messages, which a push service does not do."""
    read_flag(body, "OnlineOnlyFlag")


# --- conditions -----------------------------------------------------------------------------


def read_condition(app: App, value: object) -> Condition:
    """The condition of a push. Absent or empty: everyone."""
    if value is None:
        return Condition()
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    members = read_object(value, bad_field("Condition"))
    tags = {name: _read_tag_list(members, name) for name in ("TagsOr", "TagsAnd", "TagsNot")}
    attrs = {name: read_attrs(members.get(name, {}), name) for name in ("AttrsOr", "AttrsAnd")}
    if any(tags.values()) and any(attrs.values()):
        raise CallError(90039)
    if set(tags["TagsOr"]) & set(tags["TagsAnd"]):
        raise CallError(90022)
    return Condition(
        tags_or=tags["TagsOr"],
        tags_and=tags["TagsAnd"],
        tags_not=tags["TagsNot"],
        attrs_or=_terms(app, attrs["AttrsOr"]),
        attrs_and=_terms(app, attrs["AttrsAnd"]),
    )


def _read_tag_list(members: dict[str, Any], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(read_tags(members.get(name, []), name, TAGS_ASKED_MAX)))


def _terms(app: App, attrs: dict[str, str]) -> tuple[TermKey, ...]:
    """Attribute conditions as terms of their slots, which a later renaming does not change."""
    terms = []
    for attr, value in attrs.items():
        slot = app.slot_of(attr)
        if slot is None:
            raise CallError(90033)
        terms.append((f"attr{slot}", value))
    return tuple(terms)


# --- MsgBody --------------------------------------------------------------------------------

_NUMBER = (int, float)

_ELEMENTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "TIMTextElem": {"Text": str},
    "TIMLocationElem": {"Desc": str, "Latitude": _NUMBER, "Longitude": _NUMBER},
    "TIMFaceElem": {"Index": _NUMBER, "Data": str},
    "TIMCustomElem": {"Data": str, "Desc": str, "Ext": str, "Sound": str},
    "TIMSoundElem": {"Url": str, "UUID": str, "Size": _NUMBER, "Second": _NUMBER},
    "TIMImageElem": {"UUID": str, "ImageFormat": _NUMBER, "ImageInfoArray": list},
    "TIMFileElem": {"Url": str, "UUID": str, "FileSize": _NUMBER, "FileName": str},
    "TIMVideoFileElem": {"VideoUrl": str, "VideoUUID": str, "ThumbUrl": str, "ThumbUUID": str},
}
"""Element to the JSON types of its members (trtc.io/document/33527, read 2026-11)."""

_TEXTS = {
    "TIMLocationElem": "[Location]",
    "TIMFaceElem": "[Face]",
    "TIMSoundElem": "[Voice]",
    "TIMImageElem": "[Image]",
    "TIMFileElem": "[File]",
    "TIMVideoFileElem": "[Video]",
}


def derived_text(elements: list[Any]) -> str:
    """The text of a notification for a message without OfflinePushInfo.Desc (33527)."""
    parts = []
    for element in elements:
        kind, content = element["MsgType"], element["MsgContent"]
        if kind == "TIMTextElem":
            parts.append(content.get("Text") or "")
        elif kind == "TIMCustomElem":
            parts.append(content.get("Desc") or "")
        else:
            parts.append(_TEXTS[kind])
    return "".join(parts)


def _read_elements(body: dict[str, Any], *, is_required: bool) -> list[Any]:
    if "MsgBody" not in body:
        if is_required:
            raise CallError(90002)
        return []
    elements = body["MsgBody"]
    if not isinstance(elements, list):
        raise CallError(90007)
    if not elements and is_required:
        raise CallError(90002)
    for element in elements:
        _check_element(element)
    customs = sum(element["MsgType"] == "TIMCustomElem" for element in elements)
    if customs > 1 or not is_shallow(elements):
        raise CallError(90010)
    if len(msgspec.json.encode(elements)) > MSG_BODY_MAX_BYTES:
        raise CallError(93000)
    return elements


def _check_element(element: object) -> None:
    if not isinstance(element, dict):
        raise CallError(90010)
    kind, content = element.get("MsgType"), element.get("MsgContent")
    members = _ELEMENTS.get(kind) if isinstance(kind, str) else None
    if members is None or not isinstance(content, dict):
        raise CallError(90010)
    for name, types in members.items():
        value = content.get(name)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            raise CallError(90010)
