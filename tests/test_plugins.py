"""Plugins: how they are found, and that none of them can break anybody else's parts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import FakeDistribution

from flava_parts.errors import SpecError
from flava_parts.loading import load_spec
from flava_parts.plugins import hookimpl, load_registry
from flava_parts.registry import Registry

CODES = '''
from typing import Literal
from flava_parts import hookimpl
from flava_parts.codebooks.specs import CodebookSpec
from flava_parts.facts import Codes, Grid


class ColourSpec(CodebookSpec):
    """The mean colour of each patch."""

    type: Literal["acme.colour"] = "acme.colour"
    image_size: int = 14
    channels: int = 3
    levels: int = 4
    """Levels of each channel."""

    codes = property(lambda self: Codes(Grid(14, 14), self.levels**3))
    learns_from_images = property(lambda self: False)
    is_random = property(lambda self: False)

    def build(self):
        raise NotImplementedError
'''

HOOK = """

@hookimpl
def flava_parts_specs():
    return [ColourSpec]
"""

BUILT_IN = load_registry(entry_points=False)


def broken(registry: Registry) -> list[str]:
    """What went wrong, a line each."""
    return [str(each) for each in registry.broken]


def message(text: str, registry: Registry) -> str:
    """The one problem of a model that is wrong."""
    with pytest.raises(SpecError) as caught:
        load_spec(text, registry=registry)
    return str(caught.value)


def test_the_built_in_parts_come_by_the_same_hook() -> None:
    """The built-in plugin is whole, and nothing about it is broken."""
    assert [] == broken(BUILT_IN)
    assert "flava.vit" in BUILT_IN.entries
    assert "flava.base" in BUILT_IN.presets


def test_an_installed_plugin_adds_its_part(fake_distribution: FakeDistribution) -> None:
    """A part from an entry point is used like any other."""
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK)
    registry = load_registry()
    spec = load_spec("base: flava.base\ncodebook: {type: acme.colour, levels: 8}\n", registry=registry)

    assert [] == broken(registry)
    assert "plugin 'acme' (flava-parts-acme 0.2)" == str(registry.entries["acme.colour"].origin)
    assert spec.codebook is not None
    assert {"image_size": 14, "channels": 3, "levels": 8} == spec.codebook.arguments()


def test_a_plugin_that_cannot_be_imported(fake_distribution: FakeDistribution) -> None:
    """Only who asks for its part hears about it."""
    fake_distribution("flava-parts-acme", "0.2", "acme", "import timm_that_is_not_there\n")
    registry = load_registry()

    assert BUILT_IN.entries.keys() == registry.entries.keys()
    assert (
        "<text>:3:3: image_encoder: no image_encoder named 'acme.swin'; plugin 'acme' (flava-parts-acme 0.2) "
        "failed to load: ModuleNotFoundError: No module named 'timm_that_is_not_there'"
    ) == message("base: flava.base\nimage_encoder:\n  type: acme.swin\n", registry)
    assert load_spec("flava.tiny", registry=registry)


def test_another_name_of_a_broken_plugin(fake_distribution: FakeDistribution) -> None:
    """A namespace that nobody has may be that of a broken plugin; a misspelt built-in name is not."""
    fake_distribution("flava-parts-acme", "0.2", "acme", "1 / 0\n")
    registry = load_registry()

    assert (
        "<text>:1:17: image_encoder: no image_encoder named 'other.swin'; perhaps because plugin 'acme' "
        "(flava-parts-acme 0.2) failed to load: ZeroDivisionError: division by zero"
    ) == message("image_encoder: {type: other.swin}\n", registry)
    assert ("<text>:1:17: image_encoder: no image_encoder named 'flava.vti'; did you mean 'flava.vit'?") == message(
        "image_encoder: {type: flava.vti}\n", registry
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise SystemExit(3)", "failed to load: SystemExit: 3"),
        (
            "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_parts_specs():\n    raise "
            "ValueError('no\\nluck')\n",
            "failed in flava_parts_specs: ValueError: no luck",
        ),
        (
            "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_parts_specs():\n    yield 1 / 0\n",
            "failed in flava_parts_specs: ZeroDivisionError: division by zero",
        ),
        (
            "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_parts_presets():\n    return 3\n",
            "failed in flava_parts_presets: AttributeError: 'int' object has no attribute 'iterdir'",
        ),
        (
            "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_part_specs():\n    return []\n",
            "implements an unknown hook 'flava_part_specs'; did you mean 'flava_parts_specs'?",
        ),
        (
            "from flava_parts import hookimpl\n\n@hookimpl\ndef on_step():\n    return []\n",
            "implements an unknown hook 'on_step'",
        ),
        (
            "def flava_parts_specs():\n    return []\n",
            "has a function 'flava_parts_specs' that is not marked with @hookimpl",
        ),
        ("", "implements no hook"),
        (
            "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_parts_specs():\n    return [3]\n",
            "offers 3, which is no subclass of PartSpec",
        ),
        (
            CODES.replace("CodebookSpec)", "PartSpec)").replace("class", "from flava_parts import PartSpec\n\nclass")
            + HOOK,
            "offers ColourSpec, which has no kind: it should derive from the abstract spec of a kind",
        ),
        (
            CODES.replace("    image_size", '    kind = "teapot"\n    image_size') + HOOK,
            "offers 'acme.colour' of an unknown kind 'teapot'; the kinds are codebook, evaluation, "
            "fusion, head, image_encoder, "
            "image_masker, loss, observer, optimizer, pair_masker, schedule, source, text_encoder, "
            "text_masker, tokenizer",
        ),
        (
            CODES.replace("CodebookSpec)", "PartSpec)")
            .replace("class", "from flava_parts import PartSpec\n\nclass")
            .replace("    image_size", '    kind = "codebook"\n    image_size')
            + HOOK,
            "offers 'acme.colour', a codebook that does not derive from CodebookSpec",
        ),
        (
            CODES.replace('Literal["acme.colour"]', "str") + HOOK,
            "offers ColourSpec, whose type is not declared as "
            'type: Literal["<namespace>.<part>"] = "<namespace>.<part>"',
        ),
        (
            CODES.replace("acme.colour", "Colour") + HOOK,
            "offers ColourSpec, whose type 'Colour' is not <namespace>.<part> in lower case",
        ),
        (CODES.replace("def build", "def built") + HOOK, "offers ColourSpec, which leaves build undefined"),
        (
            CODES.replace("levels", "base") + HOOK,
            "offers ColourSpec, which has a field 'base', the word for inheritance in YAML files",
        ),
        (
            CODES.replace("acme.colour", "flava.colour") + HOOK,
            "offers 'flava.colour', but the namespace 'flava' belongs to the built-in parts",
        ),
    ],
)
def test_a_plugin_that_breaks_the_rules(fake_distribution: FakeDistribution, source: str, reason: str) -> None:
    """Each way to break them is remembered with its reason, and takes nothing away from the others."""
    fake_distribution("flava-parts-acme", "0.2", "acme", source)
    registry = load_registry()

    assert [f"plugin 'acme' (flava-parts-acme 0.2) {reason}"] == broken(registry)
    assert BUILT_IN.entries.keys() == registry.entries.keys()


def test_one_bad_part_leaves_the_plugins_others(fake_distribution: FakeDistribution) -> None:
    """What a plugin returns is judged thing by thing."""
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK.replace("[ColourSpec]", "[None, ColourSpec]"))
    registry = load_registry()

    assert 1 == len(registry.broken)
    assert "acme.colour" in registry.entries


def test_a_contested_name_belongs_to_nobody(fake_distribution: FakeDistribution) -> None:
    """Two claimants, whatever their order: the name is taken out, and both are named."""
    fake_distribution("flava-parts-zeta", "1.0", "zeta", CODES + HOOK)
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK)
    registry = load_registry()

    assert "acme.colour" not in registry.entries
    assert (
        "<text>:1:12: codebook: no codebook named 'acme.colour'; both plugin 'acme' (flava-parts-acme 0.2) and plugin "
        "'zeta' (flava-parts-zeta 1.0) claim that name, so neither has it; block one with FLAVA_PARTS_BLOCK"
    ) == message("codebook: {type: acme.colour}\n", registry)


@pytest.mark.parametrize("name", ["zeta", "flava-parts-zeta", "Flava_Parts.Zeta"])
def test_blocking_one_of_two_claimants(
    fake_distribution: FakeDistribution, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A blocked plugin is never imported; by entry point or distribution."""
    fake_distribution("flava-parts-zeta", "1.0", "zeta", CODES + HOOK)
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK)
    monkeypatch.setenv("FLAVA_PARTS_BLOCK", f"other, {name}")

    assert "acme" == load_registry().entries["acme.colour"].origin.plugin
    assert "acme.colour" not in load_registry(block=["acme"]).entries


def test_a_blocked_plugin_is_named(fake_distribution: FakeDistribution) -> None:
    """Whoever asks for the part of a blocked plugin hears that it is blocked."""
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK)
    registry = load_registry(block=["acme"])

    assert (
        "<text>:1:12: codebook: no codebook named 'acme.colour'; plugin 'acme' (flava-parts-acme 0.2) is blocked"
    ) == message("codebook: {type: acme.colour}\n", registry)


def test_entry_points_can_be_left_out(fake_distribution: FakeDistribution) -> None:
    """`entry_points=False` sees no installed plugin."""
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK)

    assert BUILT_IN.entries.keys() == load_registry(entry_points=False).entries.keys()


def test_the_same_part_twice_is_not_contested(fake_distribution: FakeDistribution) -> None:
    """A module that is installed and also given in code claims its names once."""
    fake_distribution("flava-parts-acme", "0.2", "acme", CODES + HOOK)
    import fake_flava_parts_acme as acme  # pyright: ignore[reportMissingImports]

    registry = load_registry(
        plugins=[
            acme,
            SimpleNamespace(flava_parts_specs=hookimpl(lambda: [acme.ColourSpec], specname="flava_parts_specs")),
        ]
    )

    assert {} == dict(registry.contested)
    assert "acme.colour" in registry.entries


def test_presets_of_a_plugin(fake_distribution: FakeDistribution, tmp_path: Path) -> None:
    """A folder of YAML files is a set of presets; one in our namespace is refused."""
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "acme.small.yaml").write_text("base: flava.tiny\nimage_encoder: {depth: 1}\n")
    (folder / "flava.mine.yaml").write_text("{}")
    (folder / "NOTES.yaml").write_text("{}")
    (folder / "README.md").write_text("")
    source = (
        "from pathlib import Path\nfrom flava_parts import hookimpl\n\n"
        f"@hookimpl\ndef flava_parts_presets():\n    return Path({str(folder)!r})\n"
    )
    fake_distribution("flava-parts-acme", "0.2", "acme", source)
    registry = load_registry()
    spec = load_spec("acme.small", registry=registry)

    assert 1 == spec.image_encoder.arguments()["depth"]
    assert [
        "plugin 'acme' (flava-parts-acme 0.2) offers 'flava.mine', but the namespace 'flava' "
        "belongs to the built-in parts",
        "plugin 'acme' (flava-parts-acme 0.2) offers the preset 'NOTES.yaml', which is not named "
        "<namespace>.<name>.yaml",
    ] == sorted(broken(registry))
