"""The documentation holds: its code runs, its files load, its errors are what comes out, its tables are what there is.

Fenced blocks are read by their language. ``python`` blocks of a page run one after the other, ``yaml`` blocks load
(``yaml wrong`` blocks do not), ``yaml source`` blocks name a source, ``console`` blocks print what they show; a line
``...`` there stands for the rest. A first line ``# name.ext`` also writes the block to that file, for the blocks around
it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from flava_parts import cli
from flava_parts.cli.parts import _described, _first_line
from flava_parts.codebooks.codebook import Codebook
from flava_parts.codebooks.specs import DVAESpec
from flava_parts.compose import compose
from flava_parts.data.sources.source_file import source_in
from flava_parts.errors import SpecError
from flava_parts.loading import load_any, load_run
from flava_parts.messages import show
from flava_parts.plugins import load_registry
from flava_parts.spec import FinetuneSpec, FlavaSpec
from flava_parts.train.run import run

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [README, *GUIDE]
EVERYTHING = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUILT_IN = load_registry(entry_points=False)
TRAPS = ROOT / "docs" / "traps.md"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands behind the fence, and the text."""

    info: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block is."""
        found = re.match(r"# ([\w.]+\.(?:py|yaml))\n", self.text)
        return found and found[1]


def blocks(page: Path, *infos: str) -> list[Block]:
    """The blocks of a page with one of these words behind the fence, in order."""
    found = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [Block(info, text) for info, text in found if info in infos]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page, each a list of rows of cells, without heading."""
    found = re.findall(r"^\|.*\n\| --- .*\n((?:\|.*\n?)*)", text, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()] for body in found]


def table_below(heading: str, text: str) -> list[list[str]]:
    """The first table after a heading."""
    return tables(text.partition(f"\n{heading}\n")[2])[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder from which modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("lower_half", "acme_masks", "acme_frame"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def write_files(page: Path, folder: Path) -> None:
    """Write the blocks that are files."""
    for block in blocks(page, "python", "yaml", "yaml wrong"):
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ code


@pytest.mark.parametrize(
    ("mark", "command"),
    [("main-job", "pip install . && flava-parts train"), ("tests", "pip install nox && nox -s tests")],
)
def test_a_newcomers_command_is_one_line(mark: str, command: str) -> None:
    """The two marked blocks are what a script takes from the README."""
    assert [f"{command}\n"] == [block.text for block in blocks(README, f"bash {mark}")]


def test_the_figures_have_a_place() -> None:
    """The line below which measured figures stand."""
    assert 1 == README.read_text(encoding="utf-8").count("\n<!-- figures -->\n")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_run(page: Path, folder: Path) -> None:
    """One after the other, in one namespace, as someone would who follows the page."""
    write_files(page, folder)
    if page.stem in ("training", "use", "finetune"):
        changes = ["train.steps=1", "train.batch_size=4", "model.image_encoder.depth=1", "evaluate.retrieval=null"]
        changes += [f"data.streams.{name}=null" for name in ("paired", "images", "texts")]
        run(load_run("flava.emoji", registry=BUILT_IN, set=changes), folder / "runs" / "mine", log=lambda _: None)
        torch.use_deterministic_algorithms(mode=False)
    namespace: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(blocks(page, "python")):
        module = block.file.removesuffix(".py") if block.file else "page"
        exec(
            compile(block.text, f"{page.name}#{number}", "exec"),
            namespace | {"__name__": module} if block.file else namespace,
        )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_yaml_blocks_are_right_or_wrong_as_they_say(page: Path, folder: Path) -> None:
    """Each loads, with the plugins of the page."""
    write_files(page, folder)
    modules = [cli.options.imported(block.file) for block in blocks(page, "python") if block.file]
    registry = load_registry(plugins=modules, entry_points=False)
    for block in blocks(page, "yaml"):
        load_any(block.text, registry=registry)
    for block in blocks(page, "yaml wrong"):
        with pytest.raises(SpecError):
            load_any(block.text, registry=registry)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_source_blocks_load(page: Path) -> None:
    """Each names a source, and nothing of it is wrong."""
    for block in blocks(page, "yaml source"):
        source_in(block.text, registry=BUILT_IN)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_console_blocks_print_what_they_show(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output and error, to the letter; the exit code is 0 or 2 by whether something was wrong."""
    write_files(page, folder)
    for block in blocks(page, "console"):
        prompt, _, shown = block.text.partition("\n")
        assert prompt.startswith("$ flava-parts ")

        code = command(prompt.removeprefix("$ "), monkeypatch)
        printed = "".join(capsys.readouterr())

        if shown.endswith("\n...\n"):
            assert printed.startswith(shown.removesuffix("...\n"))
        else:
            assert shown == printed
        assert code == (0 if shown.endswith((", ok\n", "\n...\n")) else 2)


def command(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command of ours in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse(page: Path, folder: Path) -> None:
    """Every command of ours in a `bash` block has a verb and options that exist."""
    program: Any = typer.main.get_command(cli.app())
    for line in "".join(block.text for block in blocks(page, "bash")).splitlines():
        name, verb, *arguments = shlex.split(line.partition(" > ")[0])
        assert "flava-parts" == name
        program.commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_launched_elsewhere_is_a_command_of_ours(page: Path, folder: Path) -> None:
    """Scripts and manifests for clusters parse, and start a verb of ours with options that exist."""
    program: Any = typer.main.get_command(cli.app())
    for block in blocks(page, "bash launch", "yaml launch"):
        if block.info == "bash launch":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
            commands = [
                shlex.split(line) for line in re.findall(r"-m flava_parts (.*)", block.text.replace("\\\n", " "))
            ]
        else:
            assert yaml.compose(block.text, Loader=yaml.SafeLoader) is not None
            commands = [line.split(", ") for line in re.findall(r"-m, flava_parts, (.*)\]", block.text)]
        assert commands
        for verb, *arguments in commands:
            program.commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_toml_blocks_parse(page: Path) -> None:
    """And the entry points are in our groups."""
    for block in blocks(page, "toml"):
        assert (
            {"flava_parts", "flava_parts.verbs"} >= tomllib.loads(block.text)["project"]["entry-points"].keys() > set()
        )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_tested(page: Path) -> None:
    """No block is of a kind that no test here looks at."""
    infos = re.findall(r"^```(\S.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert set(infos) <= {
        "bash",
        "bash launch",
        "bash main-job",
        "bash tests",
        "console",
        "python",
        "toml",
        "yaml",
        "yaml launch",
        "yaml source",
        "yaml wrong",
    }


# ---------------------------------------------------------------------------------------------------- tables


def test_the_presets_table_counts_right() -> None:
    """Every preset, with its parameters, the codebook's among them."""
    rows = {cells[0].strip("`"): cells[1] for cells in table_below("## Presets", README.read_text(encoding="utf-8"))}

    assert {name: parameters(name) for name in BUILT_IN.presets} == rows
    assert "the dVAE has 53,786,240." in README.read_text(encoding="utf-8")
    assert 53_786_240 == sum(weight.numel() for weight in dvae().buffers())


def dvae() -> Codebook:
    """The published codebook, without memory."""
    with torch.device("meta"):
        return DVAESpec().build()


def parameters(preset: str) -> str:
    """Counted on the meta device; a dash for a fine-tuning, which takes its model from elsewhere."""
    spec = load_any(preset, registry=BUILT_IN)
    if isinstance(spec, FinetuneSpec):
        return "–"
    model, vocab = (spec, None) if isinstance(spec, FlavaSpec) else (spec.model, spec.data.tokenizer.vocab())
    tensors = [*(composed := compose(model, device="meta", vocab=vocab)).parameters(), *composed.buffers()]
    return f"{sum(tensor.numel() for tensor in tensors if tensor.is_floating_point()):,}"


def test_the_command_table_has_every_verb() -> None:
    """And no other."""
    rows = table_below("## The command line", README.read_text(encoding="utf-8"))

    assert set(cli.VERBS) == {cells[0].strip("`").split()[1] for cells in rows}


def part_sections() -> dict[str, tuple[str, dict[str, list[str]]]]:
    """For each part in a heading of the parts page: the text below its own heading, and the rows of its fields."""
    text = (ROOT / "docs" / "guide" / "parts.md").read_text(encoding="utf-8")
    sections: dict[str, tuple[str, dict[str, list[str]]]] = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = re.split(r"^## ", section, flags=re.MULTILINE)[0].partition("\n")
        names = re.findall(r"`([\w.]+)`", heading)
        rows = {cells[0].strip("`"): cells[1:] for table in tables(body) for cells in table}
        for name in names:
            own, before = sections.get(name, ("", {}))
            sections[name] = (body if len(names) == 1 else own, before | rows)
    return sections


SECTIONS = part_sections()


def test_the_parts_page_has_every_part() -> None:
    """And no other."""
    assert set(BUILT_IN.entries) == set(SECTIONS)


@pytest.mark.parametrize("name", sorted(BUILT_IN.entries))
def test_the_parts_page_says_what_the_registry_says(name: str) -> None:
    """What the part is; and of each field, type and range, default, and meaning."""
    body, rows = SECTIONS[name]

    assert _first_line(BUILT_IN.entries[name]) in body
    assert {
        field: [
            said["type"].replace(" | ", " or "),
            said["default"] if said["default"] == "(required)" else show(said["default"]).strip("'"),
            said["description"],
        ]
        for field, said in _described(BUILT_IN, name)["fields"].items()
    } == rows


def test_the_kinds_table_has_every_kind() -> None:
    """And no other."""
    text = (ROOT / "docs" / "guide" / "parts.md").read_text(encoding="utf-8")

    assert set(BUILT_IN.kinds) == {cells[0].strip("`") for cells in table_below("## Kinds", text)}


def test_the_losses_table_says_what_losses_read() -> None:
    """The batches that each is for, and its streams."""
    text = (ROOT / "docs" / "guide" / "parts.md").read_text(encoding="utf-8")
    batches = {"images": {"image"}, "texts": {"text"}, "pairs": {"image", "text"}}
    rows = {
        cells[0].strip("`"): (batches[cells[1]], set(re.findall(r"`(\w+)`", cells[2])))
        for cells in table_below("## Losses", text)
    }

    assert {
        name: (set(entry.spec.needs), set(entry.spec.reads))
        for name, entry in BUILT_IN.entries.items()
        if entry.kind == "loss"
    } == rows


def test_the_slots_table_has_every_slot() -> None:
    """In the guide to composing."""
    rows = table_below("## A model file", (ROOT / "docs" / "guide" / "compose.md").read_text(encoding="utf-8"))

    assert set(FlavaSpec.model_fields) == {slot for cells in rows for slot in re.findall(r"`(\w+)`", cells[0])}


# ------------------------------------------------------------------------------------------- traps and links


def test_each_trap_has_one_row_in_order() -> None:
    """Numbered from 1 without a gap."""
    rows = [cells for table in tables(TRAPS.read_text(encoding="utf-8")) for cells in table]

    assert list(map(str, range(1, 44))) == [cells[0] for cells in rows]
    assert all(re.fullmatch(rf"(`test_trap_{int(cells[0]):02}`)?", cells[3]) for cells in rows)


def test_each_trap_has_the_test_that_it_names() -> None:
    """And each test of a trap is named by it."""
    named = set(re.findall(r"`(test_trap_\d\d)`", TRAPS.read_text(encoding="utf-8")))
    written = {
        found
        for file in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"def (test_trap_\d\d)_", file.read_text(encoding="utf-8"))
    }

    assert written == named


@pytest.mark.parametrize("page", EVERYTHING, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file or folder of the project, and there to a heading, if they name one."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve()
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, target


def test_decisions_are_numbered_and_complete() -> None:
    """One page each, without a gap, with the same four paragraphs."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert list(range(1, len(pages) + 1)) == [int(page.name[:4]) for page in pages]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert ["Situation.", "Decision.", "Consequences.", "What would change our mind."] == re.findall(
            r"^\*\*(.+?)\*\*", text, re.MULTILINE
        )
