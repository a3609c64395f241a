"""Each architecture rule catches a planted fault and passes clean code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture import rules, rules_shapes, rules_tidy
from tests.architecture.tree import Breach

Rule = Callable[[Path], list[Breach]]

LONG_FUNCTION = "def long() -> int:\n" + "    x = 1\n" * 70 + "    return x\n"
VENDOR = '''"""Bell push. https://push.example.org/doc, read 2026-11; nothing special."""

from tocsin.conversation import Limits
from tocsin.domain.outcome import Outcome

NAME = "bell"
NOBODY = ""

LIMITS = Limits()

PATH = "/send"
HOSTS = ()


class Settings: ...


OUTCOMES = {}
HINTS = {}


def normal_token(token): ...


def replaces(settings, message): ...


def authorize(settings, now): ...


def request(settings, credential, delivery, now): ...


def read(delivery, response): ...


def _helper(): ...
'''

LIST_VENDOR = VENDOR.replace(
    "def request(settings, credential, delivery, now): ...\n\n\ndef read(delivery, response): ...",
    "def prepare(settings, credential, batch, now): ...\n\n\n"
    "def deliver(settings, credential, batch, now): ...",
)

SIX = "def six(a, b, c, d, e, f): ...\n"


class Planted(NamedTuple):
    """A rule, where the fault is planted, and the faulty text."""

    rule: Rule
    path: str
    text: str
    line: int = 1


def src(name: str) -> str:
    return f"src/tocsin/{name}"


CANARIES = (
    # Imports of a higher layer, of a package of the same layer, and of the service by the client.
    Planted(rules.imports_go_down, src("domain/x.py"), "from tocsin.ports import Http\n"),
    Planted(rules.imports_go_down, src("domain/x.py"), "from tocsin import ports\n"),
    Planted(rules.imports_go_down, src("domain/x.py"), "from ..ports import Http\n"),
    Planted(rules.imports_go_down, src("domain/x.py"), "import tocsin.ports as p\n"),
    Planted(rules.imports_go_down, src("online/x.py"), "from tocsin.pipeline import settle\n"),
    Planted(rules.imports_go_down, src("adapters/x.py"), "import tocsin.channels.vendors.apns\n"),
    Planted(rules.imports_go_down, src("api/x.py"), "from tocsin.config import Settings\n"),
    Planted(rules.imports_go_down, src("demo.py"), "from tocsin.service.running import serve\n"),
    Planted(rules.imports_go_down, src("client.py"), "from tocsin.pipeline import accept\n"),
    # An import that only types need counts as well.
    Planted(
        rules.imports_go_down,
        src("domain/x.py"),
        "import typing\nif typing.TYPE_CHECKING:\n    from tocsin.ports import Http\n",
        3,
    ),
    # A module at the top that one package needs, or none.
    Planted(rules.top_modules_are_shared, src("helpers.py"), "X = 1\n"),
    Planted(rules.top_modules_are_shared, src("ports.py"), '"""P."""\nimport tocsin.ports\n'),
    Planted(rules.every_package_has_a_layer, src("helpers.py"), "X = 1\n"),
    Planted(rules.every_package_has_a_layer, src("common/text.py"), "X = 1\n"),
    Planted(rules.init_files_are_empty, src("domain/__init__.py"), "from .x import X\n"),
    Planted(rules.imports_stand_at_the_top, src("log.py"), "def f():\n    import json\n", 2),
    Planted(
        rules.imports_stand_at_the_top, src("service/joining.py"), "def f():\n    import json\n", 2
    ),
    Planted(rules.imports_stand_at_the_top, src("log.py"), "if 1:\n    import json\n", 2),
    Planted(rules.imports_stand_at_the_top, src("log.py"), "x = __import__('json')\n"),
    Planted(
        rules.imports_stand_at_the_top,
        src("log.py"),
        "import importlib\nx = importlib.import_module('json')\n",
        2,
    ),
    Planted(
        rules.libraries_keep_to_their_places, src("channels/vendors/apns.py"), "import pycurl\n"
    ),
    Planted(rules.libraries_keep_to_their_places, src("adapters/memory.py"), "import apsw\n"),
    Planted(rules.libraries_keep_to_their_places, src("adapters/sqlite/x.py"), "import aiohttp\n"),
    Planted(rules.libraries_keep_to_their_places, src("cli.py"), "from urllib import request\n"),
    Planted(
        rules.libraries_keep_to_their_places,
        src("api/x.py"),
        "from urllib.request import urlopen\n",
    ),
    # Faults that `tocsin serve` could inject: imported, named, or put around an adapter.
    Planted(
        rules.only_the_demo_injects_faults,
        src("service/opening.py"),
        "from tocsin.adapters.fault_injection import faulty_store\n",
    ),
    Planted(
        rules.only_the_demo_injects_faults,
        src("cli/serve.py"),
        "from tocsin.cli.faulty_service import faulty_service\n",
    ),
    Planted(
        rules.only_the_demo_injects_faults,
        src("cli/entry.py"),
        "import_module('tocsin.cli.faulty_service')\n",
    ),
    Planted(
        rules.only_the_demo_injects_faults,
        src("service/joining.py"),
        "around = opening.Interceptors(store=loses)\n",
    ),
    # Budgets.
    Planted(rules_tidy.files_and_lines_are_short, src("log.py"), f"X = '{'x' * 100}'\n"),
    Planted(rules_tidy.files_and_lines_are_short, src("log.py"), "X = 1\n" * 701),
    Planted(rules_tidy.files_and_lines_are_short, "tests/unit/test_x.py", "X = 1\n" * 701),
    Planted(rules_tidy.functions_are_short, src("log.py"), LONG_FUNCTION),
    Planted(rules_tidy.parameters_are_few, src("log.py"), SIX),
    Planted(rules_tidy.promises_are_documented, src("ports.py"), '"""P."""\nclass Http: ...\n', 2),
    Planted(rules_tidy.promises_are_documented, src("domain/x.py"), '"""P."""\ndef f(): ...\n', 2),
    Planted(
        rules_tidy.promises_are_documented,
        src("ports.py"),
        '"""P."""\nclass Http:\n    """H."""\n    async def send(self): ...\n',
        4,
    ),
    Planted(rules_tidy.promises_are_documented, src("domain/x.py"), "X = 1\n"),
    # Banned words, however they are imported.
    Planted(
        rules_tidy.no_type_checking_blocks, src("log.py"), "from typing import TYPE_CHECKING\n"
    ),
    Planted(
        rules_tidy.no_type_checking_blocks,
        "tests/x.py",
        "import typing\nif typing.TYPE_CHECKING: ...\n",
        2,
    ),
    Planted(rules_tidy.time_and_chance_come_in, src("log.py"), "import time\ntime.time()\n", 2),
    Planted(rules_tidy.time_and_chance_come_in, src("log.py"), "from time import time\n"),
    Planted(rules_tidy.time_and_chance_come_in, src("log.py"), "import random\n"),
    Planted(rules_tidy.time_and_chance_come_in, src("log.py"), "from uuid import uuid4\n"),
    Planted(
        rules_tidy.time_and_chance_come_in,
        src("log.py"),
        "import datetime as dt\ndt.datetime.now()\n",
        2,
    ),
    Planted(
        rules_tidy.time_and_chance_come_in,
        src("log.py"),
        "from datetime import datetime\nnow = datetime.now\n",
        2,
    ),
    Planted(
        rules_tidy.time_and_chance_come_in, src("log.py"), "import asyncio\nasyncio.sleep(1)\n", 2
    ),
    Planted(rules_tidy.nothing_is_printed, src("cli.py"), "print('x')\n"),
    Planted(rules_tidy.doubles_are_real, "tests/x.py", "from unittest.mock import patch\n"),
    Planted(rules_tidy.doubles_are_real, "tests/x.py", "from unittest import mock\n"),
    Planted(
        rules_tidy.doubles_are_real,
        "tests/x.py",
        "def f(monkeypatch):\n    monkeypatch.setattr('a', 1)\n",
        2,
    ),
    Planted(rules_tidy.tests_do_not_sleep, "tests/x.py", "import asyncio\nasyncio.sleep(0.1)\n", 2),
    Planted(
        rules_tidy.broad_excepts_have_a_place,
        src("domain/x.py"),
        "try:\n    x()\nexcept Exception:\n    pass\n",
        3,
    ),
    Planted(
        rules_tidy.broad_excepts_have_a_place,
        src("domain/x.py"),
        "try:\n    x()\nexcept (OSError, BaseException):\n    pass\n",
        3,
    ),
    Planted(
        rules_tidy.broad_excepts_have_a_place,
        src("domain/x.py"),
        "try:\n    x()\nexcept:\n    pass\n",
        3,
    ),
    Planted(
        rules_tidy.broad_excepts_have_a_place,
        src("domain/x.py"),
        "import contextlib\nwith contextlib.suppress(Exception):\n    x()\n",
        2,
    ),
    Planted(rules_tidy.modules_hold_no_state, src("log.py"), "cache: dict[str, int] = dict()\n"),
    Planted(
        rules_tidy.modules_hold_no_state,
        src("metrics.py"),
        "from prometheus_client import Counter as C\nCALLS = C('calls', 'x')\n",
        2,
    ),
    Planted(rules_tidy.modules_hold_no_state, src("log.py"), "def f():\n    global x\n", 2),
    Planted(rules_tidy.nothing_is_left_over, src("log.py"), "x = 1  # TO" + "DO: later\n"),
    Planted(rules_tidy.no_dead_files, src("domain/unused.py"), "X = 1\n"),
    # A cache that evicts its oldest entry by hand.
    Planted(rules_tidy.caches_are_bounded_by_one_class, src("api/x.py"), "a.popitem(last=False)\n"),
    Planted(rules_tidy.caches_are_bounded_by_one_class, src("api/x.py"), "del a[next(iter(a))]\n"),
    Planted(rules_tidy.caches_are_bounded_by_one_class, src("api/x.py"), "a.pop(next(iter(a)))\n"),
    # A secret of an app opened, sealed, or opened by a function that is handed on.
    Planted(rules_tidy.secrets_are_opened_in_one_place, src("api/x.py"), "vault.open(key, '')\n"),
    Planted(rules_tidy.secrets_are_opened_in_one_place, src("api/x.py"), "x._vault.seal(b, c)\n"),
    Planted(rules_tidy.secrets_are_opened_in_one_place, src("api/x.py"), "map(Vault.open, keys)\n"),
    Planted(rules_tidy.no_dead_files, src("cli/unused.py"), "X = 1\n"),
)


def changed(
    old: str, new: str, line: int, rule: Rule = rules_shapes.vendors_have_one_shape
) -> Planted:
    """The clean vendor with one thing wrong."""
    assert old in VENDOR
    return Planted(rule, src("channels/vendors/bell.py"), VENDOR.replace(old, new), line)


VENDORS = (
    changed(", read 2026-11", "", 1),
    changed("https://push.example.org/doc", "the vendor's page", 1),
    changed('NAME = "bell"', "", 1),
    changed('NOBODY = ""', "", 1),
    changed("HOSTS = ()", "", 1),
    changed("OUTCOMES = {}", "", 1),
    changed("HINTS = {}", "", 1),
    changed("def authorize", "def _authorize", 1),
    changed("def replaces", "def _replaces", 1),
    changed("def normal_token", "def _normal_token", 1),
    changed(
        "def normal_token(token)",
        "def normal_token(text)",
        22,
        rules_shapes.vendors_take_the_same_parameters,
    ),
    changed("import Outcome", "import Outcome, identity", 4),
    changed("def read", "def _read", 1),
    changed("def request", "def deliver", 1),
    changed('NAME = "bell"', 'LIMITS = 1\n\nNAME = "bell"', 8),
    changed("def authorize", "def _early(): ...\n\n\ndef authorize", 31),
    changed("PATH =", "path =", 11),
    changed("def _helper", "def helper", 37),
    changed(
        "(delivery, response)",
        "(response, delivery)",
        34,
        rules_shapes.vendors_take_the_same_parameters,
    ),
    changed("(settings, now)", "(settings)", 28, rules_shapes.vendors_take_the_same_parameters),
    changed("def request", "async def request", 31, rules_shapes.vendors_are_pure),
    changed("conversation import", "metrics import", 3, rules_shapes.vendors_are_pure),
)


@pytest.mark.parametrize("planted", VENDORS)
def test_the_shape_of_a_vendor_is_kept(planted: Planted, tmp_path: Path) -> None:
    plant(tmp_path, planted.path, planted.text)
    lines = [breach.line for breach in planted.rule(tmp_path)]
    assert planted.line in lines


@pytest.mark.parametrize("vendor", [VENDOR, LIST_VENDOR])
@pytest.mark.parametrize("rule", rules_shapes.SHAPE_RULES)
def test_a_vendor_of_the_common_shape_passes(rule: Rule, vendor: str, tmp_path: Path) -> None:
    plant(tmp_path, src("channels/vendors/bell.py"), vendor)
    plant(tmp_path, src("channels/driver.py"), "async def drive(): ...\n")
    plant(tmp_path, src("channels/registry.py"), "VENDORS: tuple[Vendor, ...] = (bell,)\n")
    assert rule(tmp_path) == []


@pytest.mark.parametrize("listed", ["(apns,)", "(bell, apns)", "()", "(apns, bell, chime)"])
def test_a_registry_that_is_not_the_family_is_caught(listed: str, tmp_path: Path) -> None:
    plant(tmp_path, src("channels/vendors/apns.py"), VENDOR)
    plant(tmp_path, src("channels/vendors/bell.py"), VENDOR)
    plant(tmp_path, src("channels/registry.py"), f"VENDORS = {listed}\n")
    assert rules_shapes.the_registry_lists_every_vendor(tmp_path)


def test_a_family_without_registry_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, src("channels/vendors/bell.py"), VENDOR)
    assert rules_shapes.the_registry_lists_every_vendor(tmp_path)


def plant(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def name_of(planted: Planted) -> str:
    return f"{planted.rule.__name__}-{planted.text.strip().splitlines()[-1][:40]}"


@pytest.mark.evidence(
    "imports go to lower layers, packages of one layer never import each other, no circles",
)
@pytest.mark.parametrize("planted", CANARIES, ids=name_of)
def test_the_rule_catches_the_planted_fault(planted: Planted, tmp_path: Path) -> None:
    plant(tmp_path, src("ports.py"), '"""Ports."""\n')
    plant(tmp_path, planted.path, planted.text)
    caught = [breach for breach in planted.rule(tmp_path) if breach.path == planted.path]
    assert caught
    assert caught[0].line == planted.line


def test_every_rule_has_a_canary() -> None:
    covered = {planted.rule for planted in CANARIES} | {rules.no_circles}
    everyone = {*rules.LAYER_RULES, *rules_tidy.TIDY_RULES}
    assert everyone <= covered, [rule.__name__ for rule in everyone - covered]


def test_a_circle_is_told_once(tmp_path: Path) -> None:
    plant(tmp_path, src("domain/a.py"), "from tocsin.domain.b import B\n")
    plant(tmp_path, src("domain/b.py"), "from tocsin.domain import c\n")
    plant(tmp_path, src("domain/c.py"), "X = 1\nfrom .a import A\n")
    (breach,) = rules.no_circles(tmp_path)
    assert breach.path == src("domain/a.py")
    assert "domain.a -> tocsin.domain.b -> tocsin.domain.c -> tocsin.domain.a" in breach.why


CLEAN = {
    src("__init__.py"): "",
    src("clock.py"): "import random\nimport time\n\nNOW = time.time\n",
    src("domain/task.py"): '"""Tasks."""\n\nfrom tocsin.clock import NOW\n',
    src("domain/plan.py"): '"""Plans."""\n\nfrom tocsin.domain import task\n',
    src("pipeline/app_secrets.py"): "x = vault.open(key, context)\n",
    src("pipeline/x.py"): (
        "import asyncio\n\nfrom tocsin import clock, ports\n"
        "from tocsin.pipeline import app_secrets\n\nasyncio.sleep(0)\n"
    ),
    src("ports.py"): '"""Ports."""\n\nfrom tocsin.domain.plan import X\n',
    src("adapters/fault_injection.py"): '"""Faults."""\n',
    src("cli/faulty_service.py"): (
        "from tocsin.adapters import fault_injection\n\nX = opening.Interceptors()\n"
    ),
    src("adapters/http1.py"): "import pycurl\n\nfrom tocsin import ports\n",
    src("adapters/sqlite/store.py"): "import apsw\n",
    src("service/opening.py"): (
        "from tocsin.adapters import http1\n\n\ndef build():\n"
        "    from tocsin.adapters.sqlite import store\n"
    ),
    src(
        "service/joining.py"
    ): "from tocsin.pipeline import x\nfrom tocsin.service import opening\n",
    src("cli/main.py"): "from tocsin.demo import run\nfrom tocsin.service import joining\n",
    src("demo/run.py"): "import aiohttp\n\nfrom tocsin.client import rest\n",
    src("client/rest.py"): "import aiohttp\n",
    "tests/unit/test_task.py": "import asyncio\nasyncio.sleep(0)\n",
}


@pytest.mark.parametrize("rule", [*rules.LAYER_RULES, *rules_tidy.TIDY_RULES])
def test_clean_code_passes(rule: Rule, tmp_path: Path) -> None:
    for path, text in CLEAN.items():
        plant(tmp_path, path, text)
    assert rule(tmp_path) == []
