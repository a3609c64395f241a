"""Settings: sources, faults with hints, masking, and the pages that are made from the tree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tocsin.cli.settings_page import example, page
from tocsin.config import (
    Config,
    check,
    load,
    settings,
    show,
    unused_proxies,
)
from tocsin.settings import ConfigError

LEVELS = "one of debug, info, warning, error; did you mean warning?"
PLACE = "an address with a port, such as 127.0.0.1:9464 or [::1]:9464"
BEARER = "16 to 512 visible ASCII characters, or empty"
HOST = "an address such as 127.0.0.1 or ::, or a name, without a port and brackets"
NETWORKS = (
    "addresses and networks such as 10.0.0.1 or 10.0.0.0/8, or * alone "
    "(10.0.0.1/8 has host bits set)"
)


def file_of(folder: Path, text: str) -> Path:
    path = folder / "tocsin.toml"
    path.write_text(text)
    return path


def told(file: Path | None, environment: dict[str, str]) -> list[str]:
    return [str(fault) for fault in check(file, environment)]


EVERYTHING_WRONG = """
[server]
port = "eighty"
prot = 80
tls_cert = "chain.pem"
[log]
level = "loud"
[secret]
key = "hush-hush"
[http]
proxy = "http://me:hush@proxy"
no_proxy = ["bad:80"]
[lgo]
level = "info"
"""


@pytest.mark.evidence(
    "everything that is wrong with the settings is told in one run, with value, what is "
    "allowed and the nearest name",
    topic="Settings, log and reload",
    planted="the first fault ends the look; secrets not masked; `nonsense/99` taken for the"
    " name of a proxy",
)
def test_everything_wrong_is_told_in_one_run(tmp_path: Path) -> None:
    variables = {
        "TOCSIN_SERVER_TRUSTED_PROXIES": "nonsense/99",
        "TOCSIN_KEEP_EVERY_S": "-1",
        "TOCSIN_LOG_FORMT": "json",
    }
    faults = {fault.path: fault for fault in check(file_of(tmp_path, EVERYTHING_WRONG), variables)}
    assert set(faults) == {
        "TOCSIN_LOG_FORMT",
        "http.no_proxy",
        "http.proxy",
        "keep.every_s",
        "lgo.level",
        "log.level",
        "secret.key",
        "server.port",
        "server.prot",
        "server.tls_key",
        "server.trusted_proxies",
    }
    proxies = faults["server.trusted_proxies"]
    assert proxies.value == '"nonsense/99"'
    assert proxies.source == "TOCSIN_SERVER_TRUSTED_PROXIES"
    assert "10.0.0.0/8" in proxies.allowed
    assert "'nonsense/99' does not appear to be an IPv4 or IPv6 network" in proxies.allowed
    assert faults["TOCSIN_LOG_FORMT"].near == "TOCSIN_LOG_FORMAT"
    assert faults["secret.key"].value == faults["http.proxy"].value == "***"
    assert "hush" not in "".join(map(str, faults.values()))


@pytest.mark.evidence(
    "everything that is wrong with the settings is told in one run, with value, what is "
    "allowed and the nearest name",
)
def test_a_start_is_refused_with_everything_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file=file_of(tmp_path, EVERYTHING_WRONG), options={"server.port": 70_000})
    assert len(caught.value.faults) == 8
    assert "server.port: 70000 is wrong" in str(caught.value)


def test_later_sources_win(tmp_path: Path) -> None:
    file = file_of(tmp_path, 'data = "a"\n[server]\nport = 1\nhost = "h"\nkeep_alive_s = 5\n')
    environment = {"TOCSIN_SERVER_PORT": "2", "TOCSIN_SERVER_HOST": "e", "TOCSIN_DATA": "b"}
    config = load(data=tmp_path, file=file, environment=environment, options={"server.port": 3})
    assert config.data == str(tmp_path)
    assert (config.server.port, config.server.host, config.server.keep_alive_s) == (3, ("e",), 5)
    assert load() == Config()


def test_the_environment_is_read_by_type() -> None:
    environment = {
        "TOCSIN_SERVER_HOST": "127.0.0.1, ::1",
        "TOCSIN_SERVER_TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2",
        "TOCSIN_KEEP_EVERY_S": "1.5",
        "TOCSIN_LOG_LEVEL": "debug",
        "TOCSIN_URL": "not ours",
        "PATH": "/bin",
    }
    config = load(environment=environment)
    assert config.server.host == ("127.0.0.1", "::1")
    assert config.server.trusted_proxies == ("10.0.0.1", "10.0.0.2")
    assert (config.keep.every_s, config.log.level) == (1.5, "debug")


@pytest.mark.evidence("waits are scaled for tests alone, and what a vendor names is not")
@pytest.mark.parametrize("text", ["0", "-1", "1.5"])
def test_waits_are_never_made_longer_or_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"dispatch\.wait_scale"):
        load(environment={"TOCSIN_DISPATCH_WAIT_SCALE": text})


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[server]\nprot = 1", ["server.prot: unknown setting; did you mean server.port?"]),
        ("dta = 1", ["dta: unknown setting; did you mean data?"]),
        (
            "[lgo]\nlevel = 1\nformt = 2",
            [
                "lgo.level: unknown setting; did you mean log.level?",
                "lgo.formt: unknown setting; did you mean log.format?",
            ],
        ),
        ("server = 1", ["server: is a section: write [server]"]),
        ('[server]\nport = "x"', ['server.port: "x" is wrong: a whole number from 0 to 65535']),
        ("[server]\nport = 65536", ["server.port: 65536 is wrong: a whole number from 0 to 65535"]),
        ('[log]\nlevel = "warn"', ['log.level: "warn" is wrong: ' + LEVELS]),
        ("[dispatch]\njobs_max = 0", ["dispatch.jobs_max: 0 is wrong: a whole number from 1"]),
        ('[metrics]\nlisten = "9464"', ['metrics.listen: "9464" is wrong: ' + PLACE]),
        ('[metrics]\nlisten = "::1:9464"', ['metrics.listen: "::1:9464" is wrong: ' + PLACE]),
        ('[metrics]\ntoken = "short"', ["metrics.token: *** is wrong: " + BEARER]),
        ('[server]\nhost = "127.0.0.1:80"', ['server.host: "127.0.0.1:80" is wrong: ' + HOST]),
        (
            "[server]\nhost = []",
            ["server.host: [] is wrong: one address or several different ones"],
        ),
        ("[keep]\nevery_s = inf", ["keep.every_s: inf is wrong: a number above 0"]),
        (
            "[dispatch]\nwait_scale = 1.5",
            ["dispatch.wait_scale: 1.5 is wrong: a number above 0 up to 1"],
        ),
        (
            '[server]\ntls_cert = "x"',
            ["server.tls_key: goes together with server.tls_cert: name both or neither"],
        ),
        (
            '[server]\ntrusted_proxies = ["10.0.0.1/8"]',
            ['server.trusted_proxies: ["10.0.0.1/8"] is wrong: ' + NETWORKS],
        ),
    ],
)
def test_faults_are_told_by_path(tmp_path: Path, text: str, faults: list[str]) -> None:
    assert told(file_of(tmp_path, text), {}) == faults


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    (fault,) = told(file_of(tmp_path, "[server"), {})
    assert fault.startswith(str(tmp_path))
    assert len(check(tmp_path / "nope.toml", {})) == 1


def test_an_unknown_variable_of_a_room_stops_the_start() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment={"TOCSIN_SERVER_PROT": "1"})
    (fault,) = caught.value.faults
    assert str(fault) == "TOCSIN_SERVER_PROT: unknown setting; did you mean TOCSIN_SERVER_PORT?"


def test_secrets_are_masked() -> None:
    secret = "ab" * 32
    config = load(environment={"TOCSIN_SECRET_KEY": secret})
    assert config.secret.key == secret
    assert show(config)["secret"]["key"] == "***"
    assert secret not in str(show(config))
    assert show(Config())["secret"]["key"] == "", "nothing to mask"
    assert show(config)["server"]["port"] == 8080


@pytest.mark.evidence("wrong apps are told all at once without their secrets, and change nothing")
def test_of_declared_apps_everything_secret_is_masked(tmp_path: Path) -> None:
    text = """
[[apps]]
sdkappid = 1
key = "hush-hush"
[[apps.credentials]]
name = "apple"
vendor = "apns"
settings = { private_key = "hush" }
proxy = "http://me:hush@proxy:1"
[apps.invented]
member = "hush"
"""
    config = load(file=file_of(tmp_path, text))
    shown = show(config)["apps"]
    assert (shown[0]["sdkappid"], shown[0]["credentials"][0]["name"]) == (1, "apple")
    assert "hush" not in str(shown)
    both = load(environment={"TOCSIN_APPS": '[{"sdkappid": 1}]'})
    assert both.apps == ({"sdkappid": 1},)


@pytest.mark.parametrize("text", ["{", '{"sdkappid": 1}', "[1]"])
def test_a_variable_with_apps_that_is_no_list_of_them_is_told(text: str) -> None:
    (fault,) = check(None, {"TOCSIN_APPS": text})
    assert (fault.path, fault.source) == ("apps", "TOCSIN_APPS")


@pytest.mark.evidence("a proxy's password is sealed, sealed anew, and shown nowhere")
def test_of_a_proxys_url_the_password_alone_is_masked() -> None:
    config = load(environment={"TOCSIN_HTTP_PROXY": "http://me:hush@proxy.corp:3128"})
    assert show(config)["http"]["proxy"] == "http://me:***@proxy.corp:3128"
    assert show(Config())["http"]["proxy"] == ""


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        (
            {"TOCSIN_HTTP_PROXY": "http://me:hush@proxy"},
            "http.proxy (TOCSIN_HTTP_PROXY): *** is wrong: a proxy's URL names its port",
        ),
        (
            {"TOCSIN_HTTP_PROXY": "none"},
            "http.proxy (TOCSIN_HTTP_PROXY): *** is wrong: a proxy's URL begins with http://",
        ),
        (
            {"TOCSIN_HTTP_NO_PROXY": "good.corp, bad:80"},
            "http.no_proxy (TOCSIN_HTTP_NO_PROXY): \"good.corp, bad:80\" is wrong: 'bad:80' is",
        ),
        (
            {"TOCSIN_OUTGOING_CONNECTIONS": "3"},
            "TOCSIN_OUTGOING_CONNECTIONS: unknown setting; it is called TOCSIN_HTTP_CONNECTIONS",
        ),
    ],
)
def test_a_bad_proxy_stops_the_start(variables: dict[str, str], fault: str) -> None:
    (said,) = told(None, variables)
    assert said.startswith(fault)
    assert "hush" not in said


def test_a_section_under_its_former_name_is_told_with_its_present_one(tmp_path: Path) -> None:
    (said,) = told(file_of(tmp_path, "[outgoing]\nconnections = 3\n"), {})
    assert said == "outgoing.connections: unknown setting; it is called http.connections now"


def test_a_proxy_in_the_environment_that_is_not_used_is_named_and_not_quoted() -> None:
    there = {"https_proxy": "http://a:hush@h:1", "ALL_PROXY": "http://h:2", "HTTP_PROXY": ""}
    assert unused_proxies(Config(), {**there, "NO_PROXY": "x"}) == ["ALL_PROXY", "https_proxy"]
    config = load(environment={"TOCSIN_HTTP_PROXY": "http://h:2"})
    assert unused_proxies(config, there) == ["https_proxy"]


def test_every_setting_is_on_the_page_and_in_the_example() -> None:
    rows = settings()
    assert len(rows) == len({row.path for row in rows}) > 10
    for row in rows:
        assert row.sentence.endswith(".")
        assert f"`{row.path}`" in page()
        assert row.sentence in example()


def test_the_example_says_the_defaults(tmp_path: Path) -> None:
    lines = [line.removeprefix("#") for line in example().splitlines() if not line.startswith("# ")]
    assert load(file=file_of(tmp_path, "\n".join(lines))) == Config()
    assert tomllib.loads(example()) == {
        room: {} for room in dict.fromkeys(it.path.partition(".")[0] for it in settings()[1:])
    }
