"""The two guides for newcomers from other libraries: every line of their tables is run, and says what is true."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

GUIDES = Path(__file__).parents[2] / "docs" / "guide"
TRANSFORMERS = GUIDES / "from-transformers.md"
TORCHMULTIMODAL = GUIDES / "from-torchmultimodal.md"

TOWER = (
    "hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act hidden_dropout_prob "
    "attention_probs_dropout_prob initializer_range layer_norm_eps qkv_bias"
)
PICTURE = "do_resize size resample do_center_crop crop_size do_rescale rescale_factor do_normalize image_mean image_std"
MASK = (
    "return_image_mask input_size_patches total_mask_patches mask_group_min_patches mask_group_max_patches "
    "mask_group_min_aspect_ratio mask_group_max_aspect_ratio"
)
CODEBOOK = (
    "return_codebook_pixels codebook_do_resize codebook_size codebook_resample codebook_do_center_crop "
    "codebook_crop_size codebook_do_rescale codebook_rescale_factor codebook_do_map_pixels codebook_do_normalize "
    "codebook_image_mean codebook_image_std"
)
WEIGHTS = " ".join(f"{name}_weight" for name in ("mim", "mlm", "global_contrastive", "itm", "mmm_image", "mmm_text"))
ENCODER = (
    "config add_pooling_layer attention_mask head_mask output_attentions output_hidden_states return_dict "
    "last_hidden_state pooler_output hidden_states attentions"
)
DOCUMENTED = {
    "FlavaConfig": "image_config text_config multimodal_config image_codebook_config hidden_size layer_norm_eps "
    "projection_dim init_codebook logit_scale_init_value initializer_range ce_ignore_index global_backprop_contrastive "
    f"skip_unmasked_multimodal_encoder return_loss from_configs {WEIGHTS}",
    "FlavaTextConfig": "vocab_size type_vocab_size max_position_embeddings position_embedding_type pad_token_id "
    f"image_size patch_size num_channels {TOWER}",
    "FlavaImageConfig": f"image_size patch_size num_channels mask_token vocab_size {TOWER}",
    "FlavaMultimodalConfig": f"use_cls_token {TOWER}",
    "FlavaImageCodebookConfig": "num_groups input_channels num_blocks_per_group hidden_size vocab_size freeze "
    "initializer_range",
    "FlavaProcessor": "image_processor tokenizer __call__ decode",
    "FlavaFeatureExtractor": "FlavaFeatureExtractor",
    "FlavaImageProcessor": "preprocess images return_tensors data_format input_data_format "
    f"{PICTURE} {MASK} {CODEBOOK}",
    "FlavaImageProcessorFast": "preprocess images default_to_square do_convert_rgb return_tensors device "
    "disable_grouping",
    "FlavaForPreTraining": "config image_codebook input_ids input_ids_masked pixel_values codebook_pixel_values "
    "attention_mask token_type_ids bool_masked_pos position_ids image_attention_mask skip_unmasked_multimodal_encoder "
    "mlm_labels mim_labels itm_labels output_attentions output_hidden_states return_dict return_loss",
    "FlavaModel": "config input_ids pixel_values attention_mask token_type_ids bool_masked_pos position_ids "
    "image_attention_mask skip_multimodal_encoder output_attentions output_hidden_states return_dict get_text_features "
    "get_image_features interpolate_pos_encoding head_mask",
    "FlavaImageCodebook": "config forward pixel_values get_codebook_indices get_codebook_probs",
    "FlavaTextModel": f"input_ids token_type_ids position_ids {ENCODER}",
    "FlavaImageModel": f"pixel_values bool_masked_pos interpolate_pos_encoding {ENCODER}",
    "FlavaMultimodalModel": f"hidden_states {ENCODER}",
}
"""Every class of transformers' FLAVA page (4.56), and the names that it documents: parameters, methods, outputs."""


@dataclass(frozen=True)
class Row:
    """A line of a table: the section, the names, their expression if there is one, ours or the reason why not."""

    section: str
    names: tuple[str, ...]
    theirs: str | None
    ours: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.section}-{'-'.join(self.names)}"


def rows_of(page: Path) -> list[Row]:
    """The lines of a page's tables of three columns."""
    found: list[Row] = []
    section = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 3:
            names, theirs, ours = cells
            code = re.fullmatch(r"`(.*)`", ours)
            found.append(
                Row(
                    section,
                    tuple(re.findall(r"`(\w+)`", names)),
                    None if theirs == "—" else theirs.strip("`"),
                    code and code[1],
                    "" if code else ours,
                )
            )
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, tuple[Path, dict[str, Any]]]:
    """For each page the folder that its code was run in, and what the code left behind."""
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for page in (TRANSFORMERS, TORCHMULTIMODAL):
        folder, namespace = tmp_path_factory.mktemp(page.stem), {"__name__": "page"}
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.chdir(folder)
            for block in re.findall(r"^```python\n((?:.*\n)*?)```$", page.read_text(encoding="utf-8"), re.MULTILINE):
                exec(compile(block, page.name, "exec"), namespace)
        found[page] = folder, namespace
    return found


def assert_same(expected: Any, actual: Any) -> None:
    """Equal values; tensors and arrays of equal shapes, within rounding."""
    if isinstance(expected, (Tensor, np.ndarray)) and isinstance(actual, (Tensor, np.ndarray)):
        left, right = torch.as_tensor(expected), torch.as_tensor(actual)
        torch.testing.assert_close(right, left, atol=2e-5, rtol=1e-4, check_dtype=False)
    elif isinstance(expected, Mapping):
        assert set(expected) == set(actual)
        for name, value in expected.items():
            assert_same(value, actual[name])
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        assert len(expected) == len(actual)
        for left, right in zip(expected, actual, strict=True):
            assert_same(left, right)
    else:
        assert expected == actual


LINES = [(page, row) for page in (TRANSFORMERS, TORCHMULTIMODAL) for row in rows_of(page)]


@pytest.mark.parametrize(("page", "row"), LINES, ids=[f"{page.stem}-{row}" for page, row in LINES])
def test_every_line_is_true(
    page: Path, row: Row, pages: dict[Path, tuple[Path, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides run and give the same; where there is nothing on our side, the line says why."""
    folder, namespace = pages[page]
    monkeypatch.chdir(folder)
    with torch.no_grad():
        expected = None if row.theirs is None else eval(row.theirs, namespace)
        if row.ours is None:
            assert row.reason.startswith("none: ")
            return
        actual = eval(row.ours, namespace)
    if row.theirs is not None:
        assert_same(expected, actual)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_no_documented_name_is_missing(name: str) -> None:
    """Each class has its section, each of its names a line there."""
    listed = {given for row in rows_of(TRANSFORMERS) if row.section == name for given in row.names}

    assert set() == set(DOCUMENTED[name].split()) - listed


@pytest.mark.parametrize("name", ["FlavaForPreTraining", "FlavaModel"])
def test_no_output_is_missing(name: str) -> None:
    """The fields that the installed version returns, and the parameters that it takes."""
    from transformers.models.flava import modeling_flava as library

    kinds = {
        "FlavaForPreTraining": (library.FlavaForPreTrainingOutput, library.FlavaLosses),
        "FlavaModel": (library.FlavaModelOutput,),
    }[name]
    fields = {field for kind in kinds for field in kind.__dataclass_fields__}
    taken = set(inspect.signature(getattr(library, name).forward).parameters) - {"self", "kwargs"}
    listed = {given for row in rows_of(TRANSFORMERS) if row.section == name for given in row.names}

    assert set() == (fields | taken) - listed


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("flava_model", "flava_model"),
        ("flava_model_for_pretraining", "flava_model_for_pretraining"),
        ("flava_model_for_classification", "flava_model_for_classification"),
        ("FLAVAModel", "FLAVAModel FLAVAModel.forward FLAVAModel.encode_image FLAVAModel.encode_text"),
        (
            "FLAVAForPreTraining",
            "FLAVAForPreTraining FLAVAForPreTraining.forward FLAVAForPreTraining.encode_image "
            "FLAVAForPreTraining.encode_text",
        ),
        ("FLAVAPretrainingLoss", "FLAVAPretrainingLoss FLAVAPretrainingLoss.forward"),
        ("FLAVAPretrainingLossOutput", "FLAVAPretrainingLossOutput FLAVAPretrainingLossesCollection"),
        ("FLAVAOutput", "FLAVAOutput"),
        ("DalleVAEEncoder", "DalleVAEEncoder"),
        ("FLAVAImageTransform", "FLAVAImageTransform"),
        ("ImageMaskingGenerator", "ImageMaskingGenerator"),
    ],
)
def test_nothing_of_torchmultimodal_is_missing(section: str, names: str) -> None:
    """Every parameter of the installed version's functions, classes, methods and outputs has a line."""
    from torchmultimodal.models.flava import model
    from torchmultimodal.modules.losses import flava as losses
    from torchmultimodal.transforms import flava_transform as transforms

    taken: set[str] = set()
    for name in names.split():
        first, _, method = name.partition(".")
        found = next(getattr(module, first) for module in (model, losses, transforms) if hasattr(module, first))
        taken |= set(inspect.signature(getattr(found, method) if method else found).parameters)
        taken |= {method} - {"", "forward"}
    listed = {given for row in rows_of(TORCHMULTIMODAL) if row.section == section for given in row.names}

    assert set() == taken - {"self", "kwargs", "flava_model_kwargs"} - listed
