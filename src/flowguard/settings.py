"""One frozen Settings: flags, then the environment (FLOWGUARD_*), then flowguard.toml, then the defaults below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.catalog import SchemaContract
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.errors import RetryPolicy

_MIB = 1024 * 1024


class Settings(BaseSettings):
    """Everything that can be set. Nested fields take two underscores: FLOWGUARD_BATCH__MAX_AGE_S=0.2.

    Raises pydantic.ValidationError for values that make no sense, unknown names in flowguard.toml included.
    """

    model_config = SettingsConfigDict(
        env_prefix="FLOWGUARD_",
        env_nested_delimiter="__",
        toml_file="flowguard.toml",
        frozen=True,
        extra="forbid",
    )

    data_dir: Path = Field(Path("flowguard-data"), description="folder of the embedded log and warehouse")
    log_url: str = Field("", description="where events are logged; empty: sqlite in data_dir")
    sink_url: str = Field("", description="where rows land; empty: sqlite in data_dir")
    dead_letter_url: str = Field("", description="where dead letters rest; empty: with the rows, in sink_url")
    orders_url: str = Field("", description="where orders and their outbox live; empty: the gateway takes no orders")
    catalog: str = Field("", description="a user's catalog, as module:attribute; empty: clicks and orders")
    group: str = Field("flowguard", min_length=1, description="consumer group")
    start: Literal["earliest", "group"] = Field(
        "earliest", description="where reading starts of what the sink has nothing of: all that is kept, or the group's"
    )

    host: str = Field("127.0.0.1", description="address that the gateway listens on")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(8000, description="port of the gateway; 0: any free one")
    cors_origins: tuple[str, ...] = Field((), description="browser origins that may post events; none by default")
    default_source: str = Field("gateway", description="producer service of events that name no source")
    max_body_bytes: Annotated[int, Field(ge=1)] = Field(16 * _MIB, description="largest request body")
    body_idle_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        10.0, description="seconds that a client may stall in the middle of a request body"
    )
    max_events: Annotated[int, Field(ge=1)] = Field(10_000, description="most events in one request")
    recent_ids: Annotated[int, Field(ge=0)] = Field(200_000, description="event ids that the gateway remembers")
    event_mode: Literal["structured", "binary"] = Field(
        "structured", description="how events are logged: the two content modes of CloudEvents; both are read"
    )

    idempotency_keep_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        86_400.0, description="seconds that an Idempotency-Key is remembered, at least"
    )
    relay_outbox: bool = Field(
        default=True, description="the gateway's process also moves the outbox of orders_url into the log"
    )
    outbox_keep_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        86_400.0, description="seconds that a message stays in the outbox after it was sent"
    )

    partitions: Annotated[int, Field(ge=1)] = Field(1, description="partitions of a new topic of the embedded log")
    log_max_bytes: Annotated[int, Field(ge=_MIB)] = Field(
        4096 * _MIB, description="size of the embedded log: beyond it, what was consumed goes, or publishing holds"
    )
    fetch_bytes: Annotated[int, Field(ge=1)] = Field(2 * _MIB, description="bytes that one read of the log returns")
    kafka: Mapping[str, str] = Field(
        {}, repr=False, description="options of librdkafka by name; in the environment FLOWGUARD_KAFKA__SASL_USERNAME=…"
    )
    spring_headers: bool = Field(
        default=False,
        description="dead letters on Kafka carry Spring's kafka_dlt-* headers too, beside Kafka Connect's",
    )

    database_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        10.0, description="seconds of silence after which a database server is given up, and tried again"
    )

    snowflake_query_timeout_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        60.0, description="seconds that one statement may take in Snowflake, with the wait for a lock"
    )
    snowflake_lock_timeout_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = Field(
        None, description="seconds that a writer waits for a lock in Snowflake; not given: half of the query timeout"
    )
    snowflake_writers: Annotated[int, Field(ge=1, le=20)] = Field(
        8, description="consumers that may write into one Snowflake schema, where they take turns"
    )
    snowflake_event_id_days: Annotated[float, Field(ge=0, le=3650, allow_inf_nan=False)] = Field(
        7.0, description="days for which Snowflake recognizes an event that its producer sends again; 0: not at all"
    )

    schema_contract: SchemaContract = Field(
        SchemaContract.EVOLVE, description="what becomes of rows whose table lacks a column; event types may differ"
    )

    batch: BatchPolicy = Field(BatchPolicy(), description="when a batch is written")
    flow: FlowPolicy = Field(FlowPolicy(), description="how many bytes are held before reading pauses")
    retry: RetryPolicy = Field(RetryPolicy(), description="how long to hold before trying again")
    dead_letters: DeadLetterPolicy = Field(DeadLetterPolicy(), description="how many rejections stop the line")
    drain_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        20.0, description="seconds that a shutdown may take to finish"
    )

    @field_validator("kafka", mode="before")
    @classmethod
    def _as_texts(cls, options: object) -> object:
        """`sasl_username`, as the environment has it, is `sasl.username`; flowguard.toml may say true and 5 plainly."""
        if not isinstance(options, Mapping):
            return options
        return {str(name).lower().replace("_", "."): _as_text(value) for name, value in options.items()}

    @field_validator("snowflake_lock_timeout_s")
    @classmethod
    def _within_a_statement(cls, seconds: float | None, info: ValidationInfo) -> float | None:
        query_s = info.data.get("snowflake_query_timeout_s")
        if seconds is not None and query_s is not None and seconds >= query_s:
            raise ValueError(
                f"a statement would be ended first: it has to be below snowflake_query_timeout_s, which is {query_s:g}"
            )
        return seconds

    @property
    def effective_log_url(self) -> str:
        return self.log_url or self._embedded("log.db")

    @property
    def effective_sink_url(self) -> str:
        return self.sink_url or self._embedded("warehouse.db")

    @property
    def effective_dead_letter_url(self) -> str:
        return self.dead_letter_url or self.effective_sink_url

    def _embedded(self, name: str) -> str:
        # An absolute path has four slashes in an URL, a relative one three: sqlite:////var/lib/flowguard/log.db
        return f"sqlite:///{self.data_dir / name}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the parent's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the parent's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def scheme_of(url: str) -> str:
    """`sqlite` of `sqlite:///a.db`, `postgresql` of `postgresql+psycopg://…`."""
    return urlsplit(url).scheme.split("+")[0]
