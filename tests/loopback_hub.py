"""A hub on this machine alone, that speaks as much of the published protocol as downloading takes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the hub holds and what it was asked for."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """files by hub id"""
    gated: set[str] = field(default_factory=set)
    """hub ids whose files are for those who accepted a licence"""
    broken: bool = False
    """answers 503 to everything"""
    sent: list[str] = field(default_factory=list)
    """files downloaded"""
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub that its server carries."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.reply(*self.answer())

    def do_GET(self) -> None:
        self.reply(*self.answer())

    def answer(self) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers."""
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        parts = self.path.split("?")[0].strip("/").split("/")
        about = parts[:2] == ["api", "models"]
        parts = parts[2:] if about else parts
        hub_id, rest = "/".join(parts[:2]), parts[2:]
        if hub.broken:
            return 503, b"{}", {}
        if hub_id not in hub.repositories:
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        files = hub.repositories[hub_id]
        if about:
            listed: object = [entry(*file) for file in files.items()]
            content = listed if rest[:1] == ["tree"] else {"id": hub_id, "sha": COMMIT, "siblings": []}
            return 200, json.dumps(content).encode(), {}
        if hub_id in hub.gated:
            return 403, b"{}", {"X-Error-Code": "GatedRepo"}
        name = unquote("/".join(rest[2:]))
        if self.command == "GET":
            hub.sent.append(name)
        return 200, files[name], {"ETag": f'"{etag(name, files[name])}"', "X-Repo-Commit": COMMIT}

    def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def etag(name: str, content: bytes) -> str:
    """As the hub names contents: large files by their sha256, others as git does."""
    if name.endswith((".safetensors", ".bin")):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(name: str, content: bytes) -> dict[str, object]:
    row: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": etag(".git", content)}
    if name.endswith((".safetensors", ".bin")):
        row["lfs"] = {"oid": etag(name, content), "size": len(content), "pointerSize": 100}
    return row


@contextmanager
def loopback_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub, and its client told to use it and an empty cache."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def save_cached(cache: Path, hub_id: str, files: dict[str, bytes], commit: str = COMMIT) -> Path:
    """A repository as the hub's client keeps it; the folder of its files."""
    place = cache / f"models--{hub_id.replace('/', '--')}"
    folder = place / "snapshots" / commit
    for name, content in files.items():
        blob = place / "blobs" / etag(name, content)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(blob)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    return folder
