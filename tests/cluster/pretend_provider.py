"""A cloud for Ray's own launcher: machines are files of a folder, and commands on them are lines of a log."""

import json
from pathlib import Path
from typing import Any

from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_provider import NodeProvider


class PretendRunner(CommandRunnerInterface):
    """Notes the commands that should run on a machine."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def run(self, cmd: str | None = None, **options: Any) -> str:
        with self._log.open("a") as file:
            file.write(f"{cmd}\n")
        return ""

    def run_rsync_up(self, source: str, target: str, options: Any = None) -> None:
        pass

    def run_rsync_down(self, source: str, target: str, options: Any = None) -> None:
        pass

    def remote_shell_command_str(self) -> str:
        return "true"

    def run_init(self, **options: Any) -> None:
        pass


class PretendProvider(NodeProvider):
    """Keeps machines in `provider.folder`, and forgets to end those in `provider.immortal`."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        if provider_config.get("is_broken"):
            raise RuntimeError("no access\n to https://ann:secret@cloud/v1")
        self._folder = Path(provider_config["folder"])

    def _machines(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self.cluster_name}-*.json"))

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        tags = {path.stem: json.loads(path.read_text()) for path in self._machines()}
        return [name for name, own in tags.items() if tag_filters.items() <= own.items()]

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        immortal = self.provider_config.get("immortal", [])
        return [name for name in self.non_terminated_nodes(tag_filters) if name not in immortal]

    def node_tags(self, node_id: str) -> dict[str, str]:
        tags: dict[str, str] = json.loads((self._folder / f"{node_id}.json").read_text())
        return tags

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        (self._folder / f"{node_id}.json").write_text(json.dumps(self.node_tags(node_id) | tags))

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        for number in range(count):
            (self._folder / f"{self.cluster_name}-{len(self._machines()) + number}.json").write_text(json.dumps(tags))

    def terminate_node(self, node_id: str) -> None:
        (self._folder / f"{node_id}.json").unlink()

    def is_running(self, node_id: str) -> bool:
        return True

    def is_terminated(self, node_id: str) -> bool:
        return False

    def external_ip(self, node_id: str) -> str:
        return "127.0.0.1"

    internal_ip = external_ip

    def get_command_runner(self, *arguments: Any, **options: Any) -> CommandRunnerInterface:
        return PretendRunner(self._folder / "commands.log")

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config
