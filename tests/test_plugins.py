"""Plugins: how they are found, and that none of them can break anybody else's parts."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from conftest import FakeDistribution, Run

from flava_parts.cli.doctor import Finding
from flava_parts.errors import SpecError
from flava_parts.hooks import hookimpl
from flava_parts.loading import load_spec
from flava_parts.plugins import default_registry, load_registry
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


def probing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let processes that are started find what this test installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)]))


GOOD = CODES + HOOK
ILL: dict[str, tuple[str, str, str]] = {
    "import error": (
        "import timm_that_is_not_there\n",
        "failed to load: ModuleNotFoundError: No module named 'timm_that_is_not_there'",
        "install what is missing; or uninstall it (pip uninstall flava-parts-acme), or leave it out with "
        "FLAVA_PARTS_BLOCK=acme",
    ),
    "exception in a hook": (
        "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_parts_specs():\n    raise ValueError('no luck')\n",
        "failed in flava_parts_specs: ValueError: no luck",
        "tell its author; until then",
    ),
    "misspelt hook": (
        "from flava_parts import hookimpl\n\n@hookimpl\ndef flava_part_specs():\n    return []\n",
        "implements an unknown hook 'flava_part_specs'; did you mean 'flava_parts_specs'?",
        "tell its author",
    ),
    "wrong namespace": (
        GOOD.replace("acme.colour", "flava.colour"),
        "offers 'flava.colour', but the namespace 'flava' belongs to the built-in parts",
        "tell its author",
    ),
    "wrong API version": (
        f"FLAVA_PARTS_API = 7\n{GOOD}",
        "is written for version 7 of the plugin interface, but this flava-parts has version 1; install releases of "
        "the two that agree",
        "tell its author",
    ),
    "a hang at import": (
        "import time\ntry:\n    time.sleep(600)\nexcept Exception:\n    pass\n",
        "not imported after 6 s, so given up",
        "leave it out with FLAVA_PARTS_BLOCK=acme",
    ),
    "torch at load": (f"import torch\n{GOOD}", "imports torch, ", "its author should import that inside `build`"),
}
"""What can be wrong with an installed plugin: its module, what is said about it, and the beginning of the advice."""


@pytest.mark.parametrize("fault", list(ILL))
def test_the_command_line_works_whatever_is_installed(
    fault: str,
    fake_distribution: FakeDistribution,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names are listed and files checked; `--doctor` explains, says what to do, and exits with 1."""
    source, what, mend = ILL[fault]
    fake_distribution("flava-parts-acme", "0.2", "acme", source)
    fake_distribution("flava-parts-zeta", "1.0", "zeta", GOOD.replace("acme.", "zeta."))
    probing(monkeypatch, tmp_path)
    monkeypatch.setenv("FLAVA_PARTS_PLUGIN_SECONDS", "6" if fault == "a hang at import" else "300")
    default_registry.cache_clear()
    try:
        listed, printed, _ = run("parts")
        checked, _, _ = run("check", "flava.tiny")
        code, as_json, _ = run("parts", "--doctor", "--json")
    finally:
        default_registry.cache_clear()
    findings = {each["about"]: each for each in json.loads(as_json)}
    ill = findings["plugin 'acme' (flava-parts-acme 0.2)"]

    assert (0, 0, 1) == (listed, checked, code)
    assert "zeta.colour" in printed
    assert not ill["well"]
    assert ill["what"].startswith(what)
    assert mend in ill["mend"]
    assert "well  plugin 'zeta' (flava-parts-zeta 1.0): 1 part, 0 presets" == str(
        Finding(**findings["plugin 'zeta' (flava-parts-zeta 1.0)"])
    )


def test_a_hang_at_import_is_given_up(fake_distribution: FakeDistribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the plugin catches every exception; the alarm is gone afterwards."""
    source = "import time\nwhile True:\n    try:\n        time.sleep(600)\n    except Exception:\n        pass\n"
    fake_distribution("flava-parts-acme", "0.2", "acme", source)
    monkeypatch.setenv("FLAVA_PARTS_PLUGIN_SECONDS", "0.3")
    begun = time.monotonic()
    registry = load_registry()

    assert ["plugin 'acme' (flava-parts-acme 0.2) failed to load: not loaded after 0.3 s, so given up"] == broken(
        registry
    )
    assert time.monotonic() - begun < 30
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)
    assert signal.SIG_DFL == signal.getsignal(signal.SIGALRM)


def test_the_doctor_names_contested_names_and_what_is_blocked(
    fake_distribution: FakeDistribution, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two claimants are ill; blocking one of them, as is the user's right, makes everything well again."""
    fake_distribution("flava-parts-zeta", "1.0", "zeta", GOOD)
    fake_distribution("flava-parts-acme", "0.2", "acme", GOOD)
    probing(monkeypatch, tmp_path)
    contested, printed, _ = run("parts", "--doctor")
    monkeypatch.setenv("FLAVA_PARTS_BLOCK", "zeta")
    blocked, after, _ = run("parts", "--doctor")

    assert (1, 0) == (contested, blocked)
    assert "ill   the name 'acme.colour': both plugin 'acme' (flava-parts-acme 0.2) and plugin 'zeta'" in printed
    assert "well  plugin 'zeta' (flava-parts-zeta 1.0): is blocked, as was asked for" in after
    assert "well  plugin 'acme' (flava-parts-acme 0.2): 1 part, 0 presets" in after


# ------------------------------------------------------------------------------------------------------ new kinds

EDGES = Path(__file__).parent / "edges_plugin.py"


def edges_registry() -> tuple[ModuleType, Registry]:
    """The plugin from outside this project's namespace, and a registry with it."""
    from flava_parts.cli.options import imported

    plugin = imported(str(EDGES))
    return plugin, load_registry(plugins=[plugin], entry_points=False)


def test_a_plugin_brings_a_part_for_every_slot_and_a_preset() -> None:
    """One for each kind that there is, and a file that uses them all."""
    _, registry = edges_registry()
    spec = load_spec("edges.model", registry=registry)
    used = {part.type_name() for part in (spec.image_encoder, spec.text_encoder, *spec.losses.values())}
    used |= {getattr(spec, slot).type_name() for slot in ("fusion", "codebook", "image_masker", "text_masker")}

    assert [] == broken(registry)
    assert set(registry.kinds) == {entry.kind for entry in registry.entries.values() if entry.name.startswith("edges.")}
    assert {name.partition(".")[0] for name in used} == {"edges"}


def test_its_verb_is_called(fake_distribution: FakeDistribution, run: Run) -> None:
    """Once it is installed."""
    fake_distribution("flava-parts-edges", "1.0", "edges", EDGES.read_text(encoding="utf-8"), edges="edges")

    assert (0, "3 edges\n", "") == run("edges", "--count", "3")


def test_a_loss_reads_a_stream_that_another_part_provides() -> None:
    """Nobody foresaw it: the encoder states it, wiring knows its width, the model hands it on, gradients flow."""
    import torch

    from flava_parts.compose import compose
    from flava_parts.wiring import wire

    _, registry = edges_registry()
    spec = load_spec("edges.model", registry=registry, set=["losses.sharp.weight=1.0"])
    wiring = wire(spec)
    torch.manual_seed(0)
    model = compose(spec)
    output = model(pixel_values=torch.rand(2, 3, 16, 16), losses=["sharp"])
    output.loss.backward()

    assert ("image", 4) == (wiring.extra["edges.sharpness"].run, wiring.stream_width("edges.sharpness"))
    assert {"sharp"} == set(output.losses)
    assert model.image_encoder.sharpness.weight.grad.abs().sum() > 0


def test_the_stream_s_loss_keeps_its_laws_in_a_model_that_provides_it() -> None:
    """And is told what is missing in one that does not."""
    from flava_parts.testing import check_part

    plugin, registry = edges_registry()
    spec = load_spec("edges.model", registry=registry)
    report = check_part(plugin.SharpnessSpec(), model=spec)
    elsewhere = message("base: flava.tiny\nlosses: {sharp: {type: edges.sharp}}\n", registry)

    assert report.ok, report
    assert check_part(spec.image_encoder, only=["facts", "batch_order"]).ok
    assert elsewhere.startswith("<text>:2:17: losses.sharp: reads edges.sharpness, which nothing provides; there are ")


# ---------------------------------------------------------------------------------------------------------- verbs

VERB = """
def greet(name: str, twice: bool = False) -> None:
    \"\"\"Greet somebody.\"\"\"
    print("hello " * (2 if twice else 1) + name)
"""

GROUP_OF_VERBS = (
    f"{VERB}\nimport typer\n\ncolours = typer.Typer(help='About colours.')\ncolours.command('fit')(greet)\n"
)


def test_a_plugin_brings_a_verb(fake_distribution: FakeDistribution, run: Run) -> None:
    """Called, with help of its own, and listed with the built-in ones."""
    fake_distribution("flava-parts-acme", "0.2", "acme", VERB, greet="greet")

    assert (0, "hello hello you\n", "") == run("greet", "you", "--twice")
    assert "Greet somebody." in run("greet", "--help")[1]
    listed = run("--help")[1]
    assert "greet" in listed
    assert "check" in listed


def test_a_plugin_brings_a_group_of_verbs(fake_distribution: FakeDistribution, run: Run) -> None:
    """A group of one stays a group."""
    fake_distribution("flava-parts-acme", "0.2", "acme", GROUP_OF_VERBS, colours="colours")

    assert (0, "hello you\n", "") == run("colours", "fit", "you")
    assert "About colours." in run("--help")[1]


def test_a_blocked_plugin_brings_no_verb(
    fake_distribution: FakeDistribution, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not even imported."""
    fake_distribution("flava-parts-acme", "0.2", "acme", "1 / 0", greet="greet")
    monkeypatch.setenv("FLAVA_PARTS_BLOCK", "acme")

    assert "greet" not in "".join(map(str, run("--help")))


@pytest.mark.parametrize(
    ("source", "names", "reason"),
    [
        ("import timm_that_is_not_there", "greet", "failed to load: ModuleNotFoundError: No module named 'timm_that_"),
        ("raise SystemExit(3)", "greet", "failed to load: SystemExit: 3"),
        (VERB, "great", "failed to load: AttributeError: module 'fake_flava_parts_acme' has no attribute 'great'"),
        ("import time\ntime.sleep(600)", "greet", "failed to load: not loaded after 0.5 s, so given up"),
        ("greet = 3", "greet", "is 3, no function"),
        ("greet = dict", "greet", "typer cannot read: "),
    ],
)
def test_a_broken_verb_leaves_the_others(
    fake_distribution: FakeDistribution,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    names: str,
    reason: str,
) -> None:
    """Told where it is asked for, left out of the list; other verbs are not affected."""
    monkeypatch.setenv("FLAVA_PARTS_PLUGIN_SECONDS", "0.5")
    fake_distribution("flava-parts-acme", "0.2", "acme", source, greet=names)
    fake_distribution("flava-parts-zeta", "1.0", "zeta", VERB, wave="greet")
    code, out, err = run("greet", "you")
    told = f"plugin 'acme' (flava-parts-acme 0.2) offers the verb 'greet', which {reason}"

    assert (2, "") == (code, out)
    assert err.startswith(told)
    assert (0, "hello you\n", "") == run("wave", "you")
    code, out, err = run("--help")
    assert 0 == code
    assert "wave" in out
    assert "greet" not in out
    assert err.startswith(f"warning: {told}")
    assert (0, "flava.tiny: a model, ok\n", "") == run("check", "flava.tiny", "-p", str(EDGES))


def test_a_verb_that_is_claimed_twice_or_built_in(
    fake_distribution: FakeDistribution, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first belongs to nobody, and both are named; the second stays what it is. The doctor names all."""
    fake_distribution("flava-parts-acme", "0.2", "acme", VERB, greet="greet")
    fake_distribution("flava-parts-zeta", "1.0", "zeta", VERB, greet="greet")
    fake_distribution("flava-parts-other", "1.0", "other", VERB, check="greet", Greet="greet")
    probing(monkeypatch, tmp_path)
    claimed = (
        "both plugin 'acme' (flava-parts-acme 0.2) and plugin 'zeta' (flava-parts-zeta 1.0) claim that name, so "
        "neither has it; block one with FLAVA_PARTS_BLOCK"
    )
    _, found, _ = run("parts", "--doctor")

    assert (2, "", f"there is no verb 'greet'; {claimed}\n") == run("greet", "you")
    assert (0, "flava.tiny: a model, ok\n", "") == run("check", "flava.tiny", "-p", str(EDGES))
    told = "plugin 'other' (flava-parts-other 1.0): offers the verb"
    assert f"warning: {told.replace(':', '')} 'check', which is built in\n" in run("--help")[2]
    assert f"ill   the verb 'greet': {claimed}\n" in found
    assert f"ill   {told} 'check', which is built in\n" in found
    assert f"ill   {told} 'Greet', whose name is not in lower case, with hyphens\n" in found


# ------------------------------------------------------------------------------------------------------- tutorial


def test_the_tutorial_leads_from_nothing_to_a_trained_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its two files have less than 60 lines, and its two commands do what it says."""
    page = (Path(__file__).parents[1] / "docs" / "guide" / "plugins.md").read_text(encoding="utf-8")
    section = page.partition("## From nothing to a trained model")[2].partition("\n## ")[0]
    files = re.findall(r"^```\w+\n# ([\w.]+)\n((?:.*\n)*?)```$", section, re.MULTILINE)
    (commands,) = re.findall(r"^```bash\n((?:.*\n)*?)```$", section, re.MULTILINE)
    check, train = (shlex.split(line)[1:] for line in commands.splitlines())
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")
    small = ["train.steps=2", "train.batch_size=8", "model.image_encoder.depth=1", "model.text_encoder.depth=1"]
    small += ["evaluate.retrieval=null"]
    checked, report, _ = run(*check)
    trained, _, error = run(*train, *(word for change in small for word in ("--set", change)))

    assert sum(text.count("\n") for _, text in files) < 60
    assert 0 == checked, report
    assert 0 == trained, error
    assert 2 == sum('"loss"' in line for line in (tmp_path / "runs/frame/metrics.jsonl").read_text().splitlines())
