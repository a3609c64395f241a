"""Attribute names of an app: ten slots, each with a name and an account type."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tocsin.domain.account import USER
from tocsin.domain.app import ATTR_NAME_MAX_BYTES, SLOTS, App
from tocsin.errors import CallError


def name_attrs(app: App, names: Mapping[str, str], types: Mapping[str, int]) -> App:
    """The app with these slots named; slots that are not mentioned stay as they are.

    A slot may be renamed and keeps its values. Its account type is fixed when it is first named
    (tencentcloud.com/document/product/1047/60563, read 2026-11). Raises `CallError` 90033.
    """
    for slot, name in names.items():
        if slot not in SLOTS or not name or len(name.encode()) > ATTR_NAME_MAX_BYTES:
            raise CallError(90033)
    merged = {**app.attr_names, **names}
    for slot in names:
        _refuse_twin(merged, slot)
    if not types.keys() <= names.keys():
        raise CallError(90033, "AttrTypes has a slot that AttrNames has not")
    kept = dict(app.attr_types)
    for slot in names:
        wanted = types.get(slot)
        if slot not in app.attr_names:
            kept[slot] = USER if wanted is None else wanted
        elif wanted is not None and wanted != app.attr_types.get(slot, USER):
            raise CallError(90033, f"the account type of slot {slot} cannot be changed")
    return msgspec.structs.replace(app, attr_names=dict(sorted(merged.items())), attr_types=kept)


def _refuse_twin(merged: Mapping[str, str], slot: str) -> None:
    name = merged[slot]
    for other, known in merged.items():
        if other != slot and known == name:
            raise CallError(90033, f"attrName:{name} already exists at index:{other}")
