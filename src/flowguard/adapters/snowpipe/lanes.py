"""One partition's channel, as its writer has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowguard.adapters.snowpipe.client import GOOD, Channel, ChannelStatus, Client
from flowguard.adapters.snowpipe.commits import Place, offset_of, require_nothing_left_out
from flowguard.adapters.snowpipe.documents import Prepared, requests
from flowguard.adapters.snowpipe.errors import mapped
from flowguard.domain.errors import FencedError
from flowguard.domain.ingestion import TopicPartition


@dataclass(slots=True)
class Lane:
    """Every offset below `position` is resolved; None where Snowflake has nothing of the partition.

    `epoch` counts what this sink has taken: what fences other writers is the channel. `sure` is false where rows were
    appended and their commit was not seen.
    """

    client: Client
    table: str
    name: str
    partition: TopicPartition
    epoch: int
    channel: Channel
    position: int | None
    sure: bool = True

    @classmethod
    def taken(cls, client: Client, table: str, name: str, partition: TopicPartition, epoch: int, place: Place) -> Lane:
        """Take the channel from whoever has it. Raises TransientError, ConfigurationError."""
        with mapped(place.where):
            channel, status = client.open_channel(name)
        require_nothing_left_out(status, name, table, place)
        position = offset_of(status.latest_committed_offset_token, name, place.where)
        return cls(client, table, name, partition, epoch, channel, position)

    def settle(self, target: int, place: Place) -> None:
        """Find out what became of the rows whose commit was not seen, up to `target`.

        Where they are not there, the channel is taken again: what of them is still on its way is dropped by that, and
        what is committed is known. Raises TransientError, ConfigurationError, FencedError (somebody else has it).
        """
        with mapped(place.where, self.partition):
            status: ChannelStatus | None = self.client.get_channel_statuses([self.name]).get(self.name)
            if status is None or status.status_code != GOOD:
                raise FencedError([self.partition])
            if not self.reaches(target, place, status.latest_committed_offset_token):
                self.channel, status = self.client.open_channel(self.name)
        require_nothing_left_out(status, self.name, self.table, place)
        there = offset_of(status.latest_committed_offset_token, self.name, place.where)
        self.position = max((one for one in (there, self.position) if one is not None), default=None)
        self.sure = True

    def reaches(self, target: int, place: Place, token: str | None) -> bool:
        """Whether everything below `target` is committed, by the channel's token."""
        return (offset_of(token, self.name, place.where) or 0) >= target

    def confirm(self, status: ChannelStatus, target: int, place: Place) -> None:
        """Look at how the appended rows ended. Raises FencedError, ConfigurationError; then the lane is unsure still.

        The token may be of the next owner's rows: they are the same rows of the same log, so all is there.
        """
        if not self.reaches(target, place, status.latest_committed_offset_token):
            raise FencedError([self.partition])
        require_nothing_left_out(status, self.name, self.table, place)
        self.sure = True

    def append(self, rows: Sequence[Prepared], next_offset: int, place: Place) -> None:
        """Append the rows; the last request's token is `next_offset`, an earlier one's is where the next begins."""
        self.sure = False
        with mapped(place.where, self.partition):
            for run, end in _with_ends(list(requests(rows)), next_offset):
                self.channel.append_rows([row.document for row in run], str(run[0].offset), str(end))
            self.channel.initiate_flush()


def _with_ends(runs: Sequence[Sequence[Prepared]], last: int) -> Iterator[tuple[Sequence[Prepared], int]]:
    return zip(runs, [*(run[0].offset for run in runs[1:]), last], strict=True)
