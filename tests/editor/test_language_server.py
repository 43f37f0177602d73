"""An editor's view: the YAML language server, with the schema that `flava-parts schema` writes, on a file of ours.

`nox -s editor` installs the server from npm; `YAML_LANGUAGE_SERVER` names its executable.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edges_plugin import EdgeEncoderSpec

from flava_parts.cli.options import imported
from flava_parts.plugins import load_registry
from flava_parts.schema import json_schema

SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")
EXAMPLES = Path(__file__).parents[2] / "examples" / "compose"
PLUGIN = Path(__file__).parents[1] / "edges_plugin.py"

pytestmark = pytest.mark.skipif(SERVER is None, reason="no yaml-language-server; run `nox -s editor`")


class Editor:
    """A client of the server, as far as an editor needs one to complete and to underline."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        self.process = subprocess.Popen(
            [str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.told: dict[str, list[dict[str, Any]]] = {}
        schemas = {(folder / "flava.schema.json").as_uri(): "*.yaml"}
        self.settings = {"schemas": schemas, "validate": True, "completion": True, "schemaStore": {"enable": False}}
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": {}})
        self.send("initialized", {})
        self.send("workspace/didChangeConfiguration", {"settings": {"yaml": self.settings}})

    def send(self, method: str, params: Any, **more: Any) -> None:
        """One message to the server."""
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next message from the server; what it asks for is answered, what it tells is kept."""
        assert self.process.stdout is not None
        length = 0
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        message = json.loads(self.process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.told[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            asked = message["method"] == "workspace/configuration"
            result = [self.settings if item.get("section") == "yaml" else {} for item in message["params"]["items"]]
            self.answer(message["id"], result if asked else None)
        return message

    def answer(self, number: Any, result: Any) -> None:
        """The answer to a question of the server's."""
        body = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.process.stdin.flush()

    def ask(self, method: str, params: Any) -> Any:
        """The server's answer to a question."""
        self.number += 1
        self.send(method, params, id=self.number)
        while True:
            message = self.read()
            if message.get("id") == self.number and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def open(self, name: str, text: str) -> list[str]:
        """What is underlined in a file."""
        uri = (self.folder / name).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.send("textDocument/didOpen", {"textDocument": document})
        while uri not in self.told:
            self.read()
        return [found["message"] for found in self.told[uri]]

    def complete(self, name: str, text: str) -> set[str]:
        """What is offered at the end of a file."""
        self.open(name, text)
        lines = text.split("\n")
        place = {"line": len(lines) - 1, "character": len(lines[-1])}
        params = {"textDocument": {"uri": (self.folder / name).as_uri()}, "position": place}
        return {item["label"] for item in self.ask("textDocument/completion", params)["items"]}


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """An editor in a folder with the schema of the built-in parts and of a plugin."""
    folder = tmp_path_factory.mktemp("editor")
    registry = load_registry(plugins=[imported(str(PLUGIN))], entry_points=False)
    (folder / "flava.schema.json").write_text(json.dumps(json_schema(registry)), encoding="utf-8")
    editor = Editor(folder)
    yield editor
    editor.process.kill()
    editor.process.communicate()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_nothing_is_underlined_in_the_examples(editor: Editor, file: Path) -> None:
    """All that they say is in the schema."""
    assert [] == editor.open(f"right_{file.name}", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["small_images", "unequal_widths", "contrastive_emoji"])
def test_a_wrong_key_in_an_example_is_underlined(editor: Editor, name: str) -> None:
    """By its name, and nothing else is; in models and in runs."""
    text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    found = editor.open(f"wrong_{name}.yaml", text.replace("width:", "widht:", 1))

    assert ["Property widht is not allowed."] == found


def test_a_wrong_value_is_underlined(editor: Editor) -> None:
    """Out of range."""
    assert [] != editor.open("value.yaml", "base: flava.tiny\nimage_encoder: {type: flava.vit, width: 0}\n")


def test_fields_are_completed(editor: Editor) -> None:
    """Those of the model at the top, those of a part in its block."""
    assert {"image_encoder", "losses"} <= editor.complete("top.yaml", "base: flava.tiny\n")
    assert {"width", "depth", "patch_size", "base"} <= editor.complete(
        "block.yaml", "base: flava.tiny\nimage_encoder:\n  type: flava.vit\n  "
    )


def test_types_of_plugins_are_completed(editor: Editor) -> None:
    """Beside the built-in ones."""
    offered = editor.complete("type.yaml", "base: flava.tiny\nimage_encoder:\n  type: ")

    assert {"flava.vit", EdgeEncoderSpec.type_name()} <= offered
