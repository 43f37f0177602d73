"""The command line: what each verb prints, where, and the exit code that it ends with."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import FakeDistribution, Run

from flava_parts import cli
from flava_parts.loading import load_spec
from flava_parts.plugins import default_registry


def test_check(run: Run) -> None:
    """A file that is right is said to be; one that is wrong says so on stderr, and ends with 2."""
    Path("good.yaml").write_text("base: flava.tiny\n")
    Path("bad.yaml").write_text("base: flava.tiny\nimage_encoder: {widht: 3}\nzebra: 1\n")

    assert (0, "good.yaml: a model, ok\n", "") == run("check", "good.yaml")
    assert (
        2,
        "good.yaml: a model, ok\n",
        "bad.yaml:2:17: image_encoder.widht: unknown field; did you mean 'width'?\n"
        "bad.yaml:3:1: zebra: unknown field\n",
    ) == run("check", "bad.yaml", "good.yaml")


def test_check_warns(run: Run) -> None:
    """What is odd is said, and is no failure."""
    code, out, err = run("check", "flava.tiny", "--set", "losses.itm=null")

    assert (0, "flava.tiny: a model, ok\n") == (code, out)
    assert err.startswith("warning: flava.base:")


def test_check_as_json(run: Run) -> None:
    """The same for programs."""
    code, out, err = run("check", "flava.tiny", "--json", "--set", "image_encoder.depth=x")

    assert (2, "") == (code, err)
    assert [
        {
            "source": "flava.tiny",
            "kind": None,
            "problems": [
                {
                    "level": "error",
                    "file": "--set #1",
                    "line": None,
                    "column": None,
                    "path": ["image_encoder", "depth"],
                    "message": "should be a whole number, not 'x'",
                }
            ],
        }
    ] == json.loads(out)


def test_dry_run(run: Run) -> None:
    """A dry run builds the model without memory and finds its shapes to be as stated."""
    assert (0, "flava.tiny: a model, ok\n", "") == run("check", "flava.tiny", "--dry-run")


LIAR = """
from typing import Literal
from flava_parts import hookimpl
from flava_parts.encoders.specs import ViTSpec
from flava_parts.facts import ImageTokens


class LiarSpec(ViTSpec):
    type: Literal["acme.liar"] = "acme.liar"

    @property
    def tokens(self):
        tokens = super().tokens
        return ImageTokens(grid=tokens.grid, prefix=2, width=tokens.width)

    def build(self):
        from flava_parts.encoders.vision import VisionTransformer

        return VisionTransformer(**self.arguments())


@hookimpl
def flava_parts_specs():
    return [LiarSpec]
"""


def test_dry_run_finds_a_part_that_misstates_its_shape(run: Run) -> None:
    """What a part states and what its module returns are compared; `-p` takes the plugin from a file."""
    Path("liar.py").write_text(LIAR)
    Path("m.yaml").write_text(
        "base: flava.tiny\nimage_encoder:\n  type: acme.liar\n  image_size: 32\n  patch_size: 8\n"
    )

    assert (0, "m.yaml: a model, ok\n", "") == run("check", "m.yaml", "-p", "liar.py")
    code, out, err = run("check", "m.yaml", "-p", "liar.py", "--dry-run")

    assert (2, "") == (code, out)
    assert "m.yaml:3:3: image_encoder: states (2, 18, 768) but returns (2, 17, 768)" in err.splitlines()


def test_explain(run: Run) -> None:
    """A row a part, and what a step costs."""
    code, out, _ = run("explain", "flava.tiny")

    assert 0 == code
    row = next(line for line in out.splitlines() if line.startswith("image_encoder")).split()

    assert ["image_encoder", "flava.vit", "1", "+", "4x4", "32", "32,256"] == row[:7]
    assert "A training step, forward and backward, a batch of 1 with texts of 80 tokens: " in out


def test_every_value_as_json(run: Run) -> None:
    """Whole files in JSON say what they say in YAML, those of a fine-tuning too, which nothing is planned for."""
    for arguments in (("flava.emoji_groups",), ("flava.tiny", "--full")):
        code, out, _ = run("explain", *arguments, "--json")
        Path("written.yaml").write_text(run("explain", *arguments)[1])
        assert 0 == code
        assert json.loads(out) == json.loads(run("explain", "written.yaml", "--full", "--json")[1])
    code, out, err = run("explain", "flava.emoji_groups", "--gpus", "4")

    assert (2, "", "--gpus and --fit plan a pretraining; this is the file of a fine-tuning\n") == (code, out, err)


def test_explain_as_json(run: Run) -> None:
    """The same for programs: the parts add up, and AdamW needs twice the weights."""
    code, out, _ = run("explain", "flava.tiny", "--json", "--batch-size", "2")
    found = json.loads(out)

    assert (0, 2) == (code, found["batch_size"])
    assert sum(found["parameters"].values()) == sum(row["parameters"] for row in found["parts"])
    assert 8 * found["trainable"] == found["memory"]["optimizer"]
    assert found["step"]["pairs"] > sum(found["forward"]["pairs"].values())


def test_published_counts(run: Run) -> None:
    """`flava.base` has as many parameters as facebook/flava-full with its codebook."""
    _, out, _ = run("explain", "flava.base", "--json")

    assert 357_645_303 == sum(json.loads(out)["parameters"].values())


def test_explain_in_full(run: Run) -> None:
    """Every value with its origin; the text is the model again."""
    Path("m.yaml").write_text("image_encoder:\n  depth: 6\n")
    code, out, _ = run("explain", "m.yaml", "--full", "--set", "fusion.depth=2")
    rows = dict(line.split("#") for line in out.splitlines() if "#" in line and "depth" in line and "m.yaml" in line)

    assert (0, {"  depth: 6": " m.yaml:2:10"}) == (code, {key.rstrip(): value for key, value in rows.items()})
    assert "# --set #1" in out
    assert load_spec("m.yaml", set=["fusion.depth=2"]) == load_spec(out)


def test_parts(run: Run) -> None:
    """All parts by kind, or those of one."""
    code, out, _ = run("parts", "--kind", "codebook")

    assert 0 == code
    assert ["kind", "codebook", "codebook"] == [line.split()[0] for line in out.splitlines()[:3]]
    code, out, _ = run("parts", "--json")

    assert set(default_registry().entries) == {part["type"] for part in json.loads(out)["parts"]}
    assert 2 == run("parts", "--kind", "teapot")[0]


def test_one_part(run: Run) -> None:
    """A part's fields, with type, range, default and meaning; and where it is written."""
    code, out, _ = run("parts", "flava.vit")

    assert 0 == code
    assert out.startswith(
        f"flava.vit: image_encoder, from plugin 'flava_parts'\n{default_registry().find('flava.vit')}\n"
    )
    assert ["depth", "integer", ">", "0", "12", "Number", "of", "transformer", "blocks."] == next(
        line for line in out.splitlines() if line.startswith("depth")
    ).split()
    assert (2, "", "there is no part named 'flava.vti'; did you mean 'flava.vit'?\n") == run("parts", "flava.vti")
    assert (2, "", "there is no part named 'zebra'\n") == run("parts", "zebra")


def test_parts_shows_what_is_broken(run: Run, fake_distribution: FakeDistribution) -> None:
    """Broken plugins are listed with their reasons."""
    fake_distribution("flava-parts-acme", "0.2", "acme", "1 / 0\n")
    default_registry.cache_clear()
    try:
        _, out, _ = run("parts")
    finally:
        default_registry.cache_clear()

    assert (
        "broken: plugin 'acme' (flava-parts-acme 0.2) failed to load: ZeroDivisionError: division by zero"
    ) == out.splitlines()[-1]


def test_schema(run: Run) -> None:
    """JSON on stdout."""
    code, out, _ = run("schema")

    assert (0, True) == (code, "flava.vit" in json.loads(out)["$defs"])


def test_init(run: Run) -> None:
    """A file to begin with, never over another."""
    assert (0, "") == run("init", "m.yaml", "--preset", "flava.tiny")[::2]
    assert load_spec("flava.tiny") == load_spec("m.yaml")
    assert (2, "", "m.yaml: is there already, and is not overwritten\n") == run("init", "m.yaml")
    assert (2, "", "gone/m.yaml: cannot be written: No such file or directory\n") == run("init", "gone/m.yaml")
    assert (2, "", "there is no preset named 'flava.tin'; did you mean 'flava.tiny'?\n") == run(
        "init", "n.yaml", "--preset", "flava.tin"
    )


def test_wrong_use(run: Run, tmp_path: Path) -> None:
    """What typer refuses ends with 2 as well; so does a plugin that cannot be imported."""
    assert 2 == run("check")[0]
    assert 2 == run("zebra")[0]
    missing = "-p zebra_plugin: ModuleNotFoundError: No module named 'zebra_plugin'"
    assert (2, "", f"{missing}\n") == run("parts", "-p", "zebra_plugin")
    (tmp_path / "zebra_plugin.py").touch()
    assert (2, "", f"{missing}; did you mean -p zebra_plugin.py?\n") == run("parts", "-p", "zebra_plugin")


def test_version(run: Run) -> None:
    """The version of the package."""
    import flava_parts

    assert (0, f"{flava_parts.__version__}\n", "") == run("--version")


def test_help_names_every_verb(run: Run) -> None:
    """With a line about each."""
    _, out, _ = run("--help")

    assert all(f"  {verb} " in out for verb in cli.VERBS)
