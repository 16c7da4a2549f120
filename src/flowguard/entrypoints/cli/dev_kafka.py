"""`dev kafka`: a real Apache Kafka, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.entrypoints.cli import output
from flowguard.entrypoints.cli.configuration import folder_for
from flowguard.entrypoints.cli.options import DataDir, ExitCode, Json

if TYPE_CHECKING:
    from pathlib import Path

    from flowguard.entrypoints.dev.kafka import KafkaCluster

_FIRST_PORT = 9092

kafka = typer.Typer(help="A real Apache Kafka: up, down, status.", no_args_is_help=True)


def _one_or_three(brokers: int | None) -> int | None:
    if brokers not in {None, 1, 3}:
        raise typer.BadParameter("1 or 3: with any other number nothing would be replicated as in production")
    return brokers


Brokers = Annotated[
    int | None,
    typer.Option(
        "--brokers",
        metavar="1|3",
        callback=_one_or_three,
        help="How many; 3 replicate each topic three times [default: as it was, at first 1].",
    ),
]
FirstPort = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65_533,
        help=f"Port of the first broker, the others follow; 0 for any [default: as it was, at first {_FIRST_PORT}].",
    ),
]


@kafka.command()
def up(*, brokers: Brokers = None, port: FirstPort = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Start Kafka, and return when it is ready. It stays, with its data, until `dev kafka down`."""
    from flowguard.entrypoints.dev.kafka import KafkaCluster
    from flowguard.entrypoints.dev.kafka_layout import Layout

    folder = folder_for("kafka", data_dir)
    if port is None and Layout.read(folder) is None:
        port = _FIRST_PORT
    cluster = KafkaCluster(folder, brokers, port=port or None, say=output.warn)
    cluster.start()
    if as_json:
        output.as_json(_described(cluster))
        return
    replicas = "1 broker" if len(cluster.nodes) == 1 else "3 brokers, each topic on all of them"
    output.say(f"Apache Kafka is up: {replicas}. Use it by:")
    output.say(f"  export FLOWGUARD_LOG_URL={cluster.url}")
    output.say(f"Data and logs are in {folder}; `flowguard dev kafka down` stops it and keeps them.")


@kafka.command()
def down(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Stop Kafka. Its data stays for the next `up`."""
    cluster = _existing(data_dir)
    running = [node for node in cluster.nodes if node.pid]
    if running:
        cluster.stop()
    if as_json:
        output.as_json({"stopped": [node.pid for node in running], "data_dir": str(cluster.folder)})
    elif running:
        output.say(f"Stopped; the data stays in {cluster.folder}.")
    else:
        output.say(f"No Kafka of {cluster.folder} is running.")


@kafka.command()
def status(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Which brokers run, and where. Exits 1 unless all of them do, and answer."""
    cluster = _existing(data_dir)
    ready = cluster.ready
    if as_json:
        output.as_json({"up": ready, **_described(cluster)})
    elif not cluster.nodes:
        output.say(f"There is no Kafka in {cluster.folder}; `flowguard dev kafka up` makes one.")
    else:
        rows = [(node.id, node.address, "runs" if node.pid else "-", node.pid) for node in cluster.nodes]
        output.table(("broker", "address", "state", "pid"), rows)
        output.say(f"up: FLOWGUARD_LOG_URL={cluster.url}" if ready else "not up: not every broker answers")
    if not ready:
        raise typer.Exit(ExitCode.FOUND)


def _described(cluster: KafkaCluster) -> dict[str, object]:
    return {
        "log_url": cluster.url if cluster.nodes else None,
        "cluster_id": cluster.cluster_id if cluster.nodes else None,
        "data_dir": str(cluster.folder),
        "brokers": [{"id": node.id, "address": node.address, "pid": node.pid} for node in cluster.nodes],
    }


def _existing(data_dir: Path | None) -> KafkaCluster:
    from flowguard.entrypoints.dev.kafka import KafkaCluster

    return KafkaCluster(folder_for("kafka", data_dir))
