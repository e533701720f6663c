"""The Grafana dashboard asks for what a server reports."""

import json
import re
from pathlib import Path

from anivoice.bench.overhead import copy_runtime
from anivoice.config import load_settings
from anivoice.parameters import ConversionParameters
from anivoice.server.app import build_app
from anivoice.server.state import APP_STATE

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"


def test_every_metric_of_the_dashboard_is_there(tmp_path: Path) -> None:
    settings = load_settings({"weights_dir": tmp_path, "device": "cpu"}, env_file=None)
    metrics = build_app(settings, ConversionParameters(), copy_runtime(tmp_path))[APP_STATE].metrics
    metrics.count_request("GET", "/", 200, 0.1)
    reported = set(re.findall(r"^(anivoice_[a-z_]+)", metrics.text().decode(), re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    wanted = {
        name for panel in panels for one in panel["targets"] for name in re.findall(r"anivoice_[a-z_]+", one["expr"])
    }
    assert len(wanted) >= 12
    assert wanted <= reported
