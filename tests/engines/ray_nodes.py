"""A real Ray cluster of two nodes on this machine, one of which can be killed."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from bulk.ray_cluster import Cluster

# A loaded machine starts many processes slowly.
_TIMEOUTS = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_SESSIONS = Path("/tmp/ray")
# A node's agents must write their ports within 15 s, else Ray stops the node. Without ray[default] they only write that
# they have no port; this class writes it for them in time.
_NO_PORT = "-1"


class Nodes:
    """A head node for two actors, so that one can move there, and a second node for one."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Local

        os.environ.update(_TIMEOUTS)
        self._started = threading.Event()
        threading.Thread(target=self._write_agent_ports, daemon=True).start()
        self.local = Local(initialize_head=True, head_node_args={**_node(2), "include_dashboard": False})
        self.second: Any = self.local.add_node(**_node(1))
        self._started.set()

    def cluster(self, workers: int) -> Cluster:
        """Return the cluster with this number of actors."""
        return Cluster(self.local.address, workers)

    def kill_second(self) -> None:
        """Kill the second node's processes with SIGKILL."""
        self.local.remove_node(self.second, allow_graceful=False)

    def stop(self) -> None:
        """Stop the cluster."""
        self.local.shutdown()  # type: ignore[no-untyped-call]

    def _write_agent_ports(self) -> None:
        while not self._started.wait(0.2):
            for log in _SESSIONS.glob("session_latest/logs/raylet*.out"):
                for node in re.findall(r"node_id=([0-9a-f]{56})", log.read_text(errors="replace")):
                    port_file = log.parent.parent / f"dashboard_agent_listen_port_{node}"
                    with suppress(FileExistsError), port_file.open("x") as file:
                        file.write(_NO_PORT)


def _node(cores: int) -> dict[str, Any]:
    names = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port")
    return {"num_cpus": cores, "object_store_memory": 100_000_000} | {name: _free_port() for name in names}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
