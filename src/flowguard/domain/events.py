"""The event envelope (CloudEvents 1.0 attributes), and the two event types that FlowGuard brings along."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_EVENT_ID = 256
"""Characters of an event id or a source. Both are index keys in every sink."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="specversion", tag="1.0"):
    """One event as the log keeps it: the CloudEvents 1.0 structured form, JSON.

    `specversion` is always written, and taken for 1.0 where it is missing. `source` is the producer service;
    `schemaversion` is an extension attribute (their names are lower-case letters and digits only). `data` is the
    producer's payload in its own schema version, as JSON bytes: nothing here looks inside.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EVENT_ID)]
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EVENT_ID)]
    type: str
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    schemaversion: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 1
    subject: str | None = None
    data: msgspec.Raw

    def __post_init__(self) -> None:
        if self.time.tzinfo is not UTC:
            try:
                utc = self.time.astimezone(UTC)
            except OverflowError as error:  # the first and the last hours of the calendar
                raise ValueError(f"the time {self.time.isoformat()} is out of range in UTC") from error
            msgspec.structs.force_setattr(self, "time", utc)


class Model(BaseModel):
    """Base of the built-in models. Fields it does not name are kept in the stored payload, and not checked."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


Key = Annotated[str, Field(min_length=1, max_length=256)]
ItemId = Annotated[str, Field(min_length=1, max_length=256, coerce_numbers_to_str=True)]
"""Shops number their items: 42 and "42" are the same item."""
Money = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=4)]


class Click(Model):
    """Somebody clicked an advertisement or an item of the shop."""

    user_id: Key
    session_id: Key
    item_id: ItemId
    ad_id: Key
    page: str | None = None
    referrer: str | None = None


class OrderLine(Model):
    """So many of one item, at one price each, in the currency of the order."""

    item_id: ItemId
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    unit_price: Money


class Order(Model):
    """Somebody ordered. `total` is the exact sum of its lines."""

    order_id: Key
    user_id: Key
    session_id: Key
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")]
    total: Money
    status: Literal["created", "paid", "shipped", "delivered", "cancelled"]

    @model_validator(mode="after")
    def _total_is_the_sum(self) -> Self:
        due = sum((line.unit_price * line.quantity for line in self.lines), Decimal(0))
        if due != self.total:
            raise ValueError(f"total is {self.total}, but the lines add up to {due}")
        return self
