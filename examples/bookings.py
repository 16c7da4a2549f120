"""A catalog of your own: the built-in event types, and `bookings` beside them.

    FLOWGUARD_CATALOG=examples.bookings:catalog flowguard up

`examples/real_data.py` makes a file of real ones.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flowguard import BUILT_IN, Catalog, EventType

Count = Annotated[int, Field(ge=0)]


class Booking(BaseModel):
    """Somebody booked rooms of a hotel. Each field is a typed column of the table `bookings`."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    check_in: date
    check_out: date
    adults: Count
    children: Count
    rooms: Count
    destination_id: int
    hotel_country: int
    hotel_market: int
    hotel_cluster: int
    is_mobile: bool
    is_package: bool
    distance: float | None = None
    """From the user to the hotel; left out where nobody knows."""


catalog = Catalog([*BUILT_IN, EventType("bookings", Booking, key="user_id")])
