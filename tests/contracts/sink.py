"""What every EventSink must do."""

from __future__ import annotations

from tests.contracts.sink_identity import SinkIdentity
from tests.contracts.sink_positions import SinkPositions
from tests.contracts.sink_writes import SinkWrites


class SinkContract(SinkPositions, SinkIdentity, SinkWrites):
    """Set `adapter`, and give the fixture `storage`, a fresh SinkStorage."""
