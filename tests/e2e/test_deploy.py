"""deploy/compose.yaml holds together, as far as can be seen without a container engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]

from flowguard.entrypoints.cli.configuration import settings_of, unknown_variables
from flowguard.entrypoints.cli.main import app
from flowguard.entrypoints.dev.kafka_program import KafkaProgram
from flowguard.settings import Settings
from tests.e2e.pipeline import ROOT
from tests.servers.kafka import require_kafka

DEPLOY = ROOT / "deploy"
# As a container engine fills in ${NAME:-default} where NAME is not set.
COMPOSE: dict[str, Any] = yaml.safe_load(
    re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text("utf-8"))
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BROKERS = {name: one for name, one in SERVICES.items() if one["image"].startswith("apache/kafka")}
FLOWGUARDS = {name: one for name, one in SERVICES.items() if one["image"].startswith("flowguard")}


def test_it_is_the_pipeline_that_the_guide_promises() -> None:
    assert len(BROKERS) == 3
    assert FLOWGUARDS.keys() == {"migrate", "gateway", "consumer"}
    assert FLOWGUARDS["consumer"]["deploy"]["replicas"] == 2
    assert SERVICES.keys() == BROKERS.keys() | FLOWGUARDS.keys() | {"postgres"}


def test_what_is_waited_for_exists_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, waiting in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if waiting["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], name
            else:  # one that ends, and is not started again
                assert waiting["condition"] == "service_completed_successfully"
                assert SERVICES[other].get("restart", "no") == "no", name


def test_everything_starts_after_the_topics_are_made_on_all_brokers() -> None:
    assert SERVICES["migrate"]["depends_on"].keys() == BROKERS.keys() | {"postgres"}
    for name in ("gateway", "consumer"):
        assert SERVICES[name]["depends_on"].keys() == {"migrate"}


def test_data_is_in_named_volumes_and_no_two_brokers_share_one() -> None:
    mounted = {name: [one.partition(":")[0] for one in service["volumes"]] for name, service in SERVICES.items()}
    assert {volume for volumes in mounted.values() for volume in volumes} == COMPOSE["volumes"].keys()
    of_brokers = [volume for name in BROKERS for volume in mounted[name]]
    assert len(set(of_brokers)) == len(BROKERS)
    for broker in BROKERS.values():
        assert broker["volumes"][0].partition(":")[2] == broker["environment"]["KAFKA_LOG_DIRS"]


def test_ports_of_this_machine_are_on_loopback_and_do_not_clash() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len({port.rpartition(":")[0] for port in published}) == len(published) > 0
    assert all(port.startswith("127.0.0.1:") for port in published)


# -- FlowGuard -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=sorted(FLOWGUARDS))
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Of one of its services, in its environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in FLOWGUARDS[request.param]["environment"].items():
        monkeypatch.setenv(name, str(value))
    return settings_of({})


def test_its_settings_are_settings(settings: Settings) -> None:
    environment = FLOWGUARDS["gateway"]["environment"]
    assert not set(unknown_variables(settings)) & environment.keys()
    assert settings.log_url == environment["FLOWGUARD_LOG_URL"]
    assert f":{settings.port}" in SERVICES["gateway"]["ports"][0]
    assert f":{settings.port}/" in " ".join(SERVICES["gateway"]["healthcheck"]["test"])


def test_its_files_are_in_the_volume_that_all_share(settings: Settings) -> None:
    assert str(settings.data_dir) == "/data"
    assert settings.effective_sink_url.startswith("sqlite:////data/")
    assert {tuple(one["volumes"]) for one in FLOWGUARDS.values()} == {("warehouse:/data",)}


def test_it_has_time_to_drain(settings: Settings) -> None:
    for service in FLOWGUARDS.values():
        assert float(service["stop_grace_period"].removesuffix("s")) > settings.drain_s + 1


def test_its_commands_are_commands() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for service in FLOWGUARDS.values():
        name, *options = service["command"]
        assert name in commands
        assert set(options) <= {opt for param in commands[name].params for opt in param.opts}


# -- Kafka -----------------------------------------------------------------------------------------------------------


def _listener(url: str, name: str) -> str:
    """What stands behind NAME:// in a list of listeners."""
    listeners = dict(one.split("://") for one in url.split(","))
    return listeners[name]


def test_the_brokers_agree_on_who_votes_and_where() -> None:
    settings = {name: broker["environment"] for name, broker in BROKERS.items()}
    voters = {one["KAFKA_CONTROLLER_QUORUM_VOTERS"] for one in settings.values()}
    expected = sorted(
        f"{one['KAFKA_NODE_ID']}@{name}{_listener(one['KAFKA_LISTENERS'], 'CONTROLLER')}"
        for name, one in settings.items()
    )
    assert [sorted(one.split(",")) for one in voters] == [expected]
    assert len({one["CLUSTER_ID"] for one in settings.values()}) == 1


def test_clients_are_sent_to_the_brokers() -> None:
    advertised = [_listener(one["environment"]["KAFKA_ADVERTISED_LISTENERS"], "PLAINTEXT") for one in BROKERS.values()]
    assert FLOWGUARDS["gateway"]["environment"]["FLOWGUARD_LOG_URL"] == f"kafka://{','.join(advertised)}"
    for (name, broker), address in zip(BROKERS.items(), advertised, strict=True):
        assert address == name + _listener(broker["environment"]["KAFKA_LISTENERS"], "PLAINTEXT")


def test_any_one_broker_may_fail() -> None:
    for broker in BROKERS.values():
        copies = {name: value for name, value in broker["environment"].items() if name.endswith("REPLICATION_FACTOR")}
        enough = {name: value for name, value in broker["environment"].items() if name.endswith(("ISR", "REPLICAS"))}
        assert len(copies) == 4
        assert set(copies.values()) == {3}
        assert len(enough) == 3
        assert set(enough.values()) == {2}


@pytest.mark.kafka
@pytest.mark.parametrize("name", sorted(BROKERS))
def test_kafka_takes_the_settings(tmp_path: Path, name: str) -> None:
    """The image makes server.properties of KAFKA_* in this way, and formats with it."""
    require_kafka()
    environment = BROKERS[name]["environment"] | {"KAFKA_LOG_DIRS": "data"}
    home = tmp_path / "node"
    home.mkdir()
    properties = {
        key.removeprefix("KAFKA_").lower().replace("_", "."): value
        for key, value in environment.items()
        if key.startswith("KAFKA_") and key != "KAFKA_HEAP_OPTS"
    }
    (home / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()), "utf-8")
    KafkaProgram.find(print).format([home], environment["CLUSTER_ID"], ())
    assert f"cluster.id={environment['CLUSTER_ID']}" in (home / "data" / "meta.properties").read_text("utf-8")


# -- the image -------------------------------------------------------------------------------------------------------


def test_the_image_is_built_from_files_that_exist_and_are_let_in() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    let_in = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
        for source in sources.split()
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    build = FLOWGUARDS["gateway"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_the_image_has_the_extras_of_this_deployment_and_no_root() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", dockerfile, re.MULTILINE)
    assert {"kafka", "postgres"} <= set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["flowguard"]
    assert 'ENTRYPOINT ["flowguard"]' in dockerfile
    assert "flowguard" in project["scripts"]
