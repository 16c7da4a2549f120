"""The proof of the system that FlowGuard succeeds: 242 clicks, five read again, still 242."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.pipeline import FLOWGUARD, Pipeline, rows_of


def test_five_clicks_are_read_again_and_none_is_doubled(tmp_path: Path) -> None:
    clicks = tmp_path / "clicks.ndjson"
    clicks.write_text(
        "".join(
            json.dumps(
                {"event_type": "clicks", "user_id": f"u{n}", "session_id": f"s{n % 9}", "item_id": n, "ad_id": "a"}
            )
            + "\n"
            for n in range(242)
        ),
        "utf-8",
    )
    with Pipeline(tmp_path) as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        assert pipeline.publish(clicks) == {"accepted": 242, "duplicate": 0, "rejected": 0}
        pipeline.wait_landed()
        before = _rows(pipeline)
        assert len(before) == 242

        # While everything runs, as a person types it.
        place = "raw.clicks.v1-0"
        replay = ["replay", "--stream", "clicks", "--partition", "0", "--from", "237"]
        folder = ["--data-dir", str(pipeline.data_dir)]
        done = subprocess.run([FLOWGUARD, *replay, *folder], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.decode().splitlines() == [
            f"{place}: 5 records at offsets 237..241 to read again; 5 exist, 0 would land, 0 would be dead letters",
            "Merged 0 clicks (skipped 5 duplicates)",
        ]
        assert _rows(pipeline) == before
        assert pipeline.command("status")["streams"]["clicks"]["landed"] == 242
        audited = pipeline.command("audit")["streams"]["clicks"]
        assert (audited["logged"], audited["landed"], audited["duplicates"]) == (242, 242, 0)

        # The consumer is not disturbed: what comes after lands as ever.
        assert pipeline.command("traffic", "--events", "50", "--url", pipeline.url)["accepted"] == 50
        pipeline.wait_landed()
        assert pipeline.command("audit")["ok"]
        assert pipeline.stop() == 0


def _rows(pipeline: Pipeline) -> list[tuple[object, ...]]:
    with rows_of(pipeline.warehouse) as connection:
        return connection.execute("SELECT * FROM clicks ORDER BY ingestion_id").fetchall()
