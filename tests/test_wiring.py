"""Parts agree before anything is allocated: what is checked, and that the check is the whole truth."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from strategies import broken_flava_specs, flava_specs

from flava_parts.codebooks.specs import DVAESpec, KMeansSpec
from flava_parts.compose import compose
from flava_parts.data.sources.specs import EmojiSpec, GlossesSpec, ImageFolderSpec, SourceSpec, TableSpec
from flava_parts.data.specs import DataSpec, StreamSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.errors import SpecError
from flava_parts.evaluate.specs import ProbeSpec, RetrievalSpec, ZeroShotSpec
from flava_parts.facts import Codes, Grid, ImageTokens, TextTokens, Vocab
from flava_parts.inputs.specs import WordPieceSpec
from flava_parts.loading import load_run, load_spec
from flava_parts.losses.specs import GlobalContrastiveSpec, ITMSpec, MIMSpec, MLMSpec
from flava_parts.maskers.specs import BertTokenMaskerSpec, BlockMaskerSpec, WholeWordMaskerSpec
from flava_parts.spec import FlavaSpec, RunSpec
from flava_parts.train.specs import PretrainTrainSpec
from flava_parts.wiring import check, problems, wire


def errors(spec: FlavaSpec | RunSpec) -> list[str]:
    return [str(problem) for problem in check(spec) if problem.level == "error"]


def warnings(spec: FlavaSpec | RunSpec) -> list[str]:
    return [str(problem) for problem in check(spec) if problem.level == "warning"]


def batches(spec: FlavaSpec) -> list[dict[str, torch.Tensor]]:
    """A meta batch of each kind: images, texts, pairs."""
    wiring = wire(spec)
    height, width = (wiring.image_size,) * 2 if isinstance(wiring.image_size, int) else wiring.image_size
    rows, patches, words = 2, wiring.image.grid.size, wiring.text.length
    images = {
        "pixel_values": torch.zeros(rows, spec.image_encoder.channels, height, width),
        "bool_masked_pos": torch.ones(rows, patches, dtype=torch.bool),
    }
    if spec.codebook is not None:
        size = spec.codebook.image_size
        height, width = (size, size) if isinstance(size, int) else size
        images["codebook_pixel_values"] = torch.zeros(rows, spec.codebook.channels, height, width)
    texts = {name: torch.zeros(rows, words, dtype=torch.int64) for name in ("input_ids", "mlm_labels")}
    pairs = images | texts | {"itm_labels": torch.tensor([0, 1])}
    return [images, texts, pairs]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(spec=flava_specs())
def test_what_wiring_accepts_composes_and_runs(spec):
    """No problem: the model is built on meta, and one forward of each kind of batch gives every loss its value."""
    wiring = wire(spec)

    assert [] == [problem for problem in problems(spec, wiring) if problem.level == "error"]

    model = compose(spec, device="meta")
    if spec.codebook is not None and spec.codebook.learns_from_images:
        model.codebook.ready = True
    computed: set[str] = set()
    for batch in batches(spec):
        output = model(**{name: tensor.to("meta") for name, tensor in batch.items()}, output_logits=True)
        computed |= set(output.losses)
        if output.image_masked is not None:
            assert (2, wiring.image.length, wiring.image.width) == output.image_masked.pre_norm.shape
        if output.text_masked is not None:
            assert (2, wiring.text.length, wiring.text.width) == output.text_masked.pre_norm.shape
        if output.multimodal_masked is not None:
            assert wiring.layout is not None
            assert (2, wiring.layout.length, wiring.layout.width) == output.multimodal_masked.pre_norm.shape

    assert set(spec.losses) == computed


@settings(max_examples=50)
@given(spoilt=broken_flava_specs())
def test_what_wiring_refuses_is_refused_by_compose(spoilt):
    """The problem is where it was put, and nothing is built."""
    spec, loc = spoilt

    assert loc in {problem.loc for problem in problems(spec, wire(spec)) if problem.level == "error"}
    with pytest.raises(SpecError):
        compose(spec, device="meta")


def test_base_is_wired_as_published():
    """224 pixels in patches of 16, 14 x 14 codes of 8192, and the fused row of table A.1 with 512 words."""
    wiring = wire(load_spec("flava.base"))

    assert ImageTokens(Grid(14, 14), 1, 768) == wiring.image
    assert TextTokens(512, 768, 30522) == wiring.text
    assert Codes(Grid(14, 14), 8192) == wiring.codes
    assert (slice(2, 198), slice(198, 710), 710) == (
        wiring.layout.patches,
        wiring.layout.words,
        wiring.layout.length,
    )
    assert (30522, 103) == (wiring.vocab.size, wiring.vocab.mask)


def test_codes_must_cover_patches():
    spec = FlavaSpec(image_encoder=ViTSpec(patch_size=32), image_masker=None)

    assert [
        "codebook.image_size: the codebook gives 14x14 codes but the image encoder cuts 7x7 patches "
        "(see image_encoder.patch_size)"
    ] == errors(spec)


def test_codes_that_nobody_reads_need_not_cover_patches():
    spec = FlavaSpec(image_encoder=ViTSpec(patch_size=32), image_masker=None, losses={"mlm": MLMSpec()}, fusion=None)

    assert [] == errors(spec)
    assert any(text.startswith("codebook: no loss with a weight reads what it gives") for text in warnings(spec))


def test_a_loss_without_weight_reads_nothing():
    """At weight 0 a loss keeps its head, but asks for no mask token and for no codes that cover the patches."""
    spec = FlavaSpec(
        image_encoder=ViTSpec(mask_token=False, patch_size=32),
        image_masker=None,
        fusion=None,
        losses={"mim": MIMSpec(weight=0.0), "global_contrastive": GlobalContrastiveSpec()},
    )

    assert frozenset({"image_summary", "text_summary"}) == wire(spec).reads
    assert [] == [problem for problem in problems(spec, wire(spec)) if problem.level == "error"]


def test_hidden_patches_need_a_mask_token():
    """Whatever the losses read: where patches are hidden, something stands in their place."""
    losses = {"itm": ITMSpec(), "global_contrastive": GlobalContrastiveSpec()}
    bare = FlavaSpec(image_encoder=ViTSpec(mask_token=False), codebook=None, text_masker=None, losses=losses)

    assert [
        "image_encoder.mask_token: patches are hidden, which needs a mask token; set it to true, or hide none with "
        "image_masker: null (see image_masker)"
    ] == errors(bare)
    assert [] == errors(bare.model_copy(update={"image_masker": None}))
    assert [] == errors(bare.model_copy(update={"losses": {"global_contrastive": GlobalContrastiveSpec()}}))


def test_masks_that_hide_nothing_are_refused():
    """A grid of one row has room for no block; of few patches to hide, some images get none."""
    encoder, views = ViTSpec(image_size=(16, 784)), DVAESpec(image_size=(8, 392))
    narrow = FlavaSpec(image_encoder=encoder, codebook=views, image_masker=BlockMaskerSpec(total=10, min_group=4))

    assert [
        "image_masker.min_group: no block of 4 patches or more is smaller than a grid of 1x49 both ways, so that "
        "nothing would be hidden; lower it, set exact: true, or use flava.random"
    ] == errors(narrow)
    few = FlavaSpec(image_masker=BlockMaskerSpec(total=10))
    assert [] == errors(few)
    assert ["image_masker.min_group: 16 is above total, 10, so that some images have nothing hidden"] == warnings(few)


def test_masks_larger_than_the_grid_are_refused():
    spec = FlavaSpec(
        image_encoder=ViTSpec(image_size=64), codebook=DVAESpec(image_size=32), image_masker=BlockMaskerSpec()
    )

    assert ["image_masker.total: 75 patches cannot be hidden in a grid of 4x4, 16 patches"] == errors(spec)


def test_a_plugin_s_rule_arrives_with_its_part():
    """`problems` of a part is asked, and its location is put below the part's."""

    class Even(KMeansSpec):
        def problems(self, wiring):
            from flava_parts.errors import Problem

            if self.vocab_size % 2:
                yield Problem(("vocab_size",), "should be even")

    assert "codebook.vocab_size: should be even" in errors(FlavaSpec(codebook=Even(vocab_size=7)))
    assert [] == errors(FlavaSpec(codebook=Even(vocab_size=8)))


def run_of(**changes) -> RunSpec:
    run = load_run("flava.emoji")
    return RunSpec(**({name: getattr(run, name) for name in type(run).model_fields} | changes))


def test_the_shipped_run_has_no_problem():
    assert [] == check(load_run("flava.emoji"))


def test_a_run_needs_a_codebook_that_something_trained():
    """A random dVAE is refused as a target, unless said aloud; base alone, whose weights come later, is not."""
    run = load_run("flava.emoji")
    untrained = DVAESpec(image_size=32)

    assert [
        "model.codebook.weights: nothing has trained this codebook, so its codes mean nothing; give a weights file, "
        "use flava.kmeans, or say weights: random"
    ] == errors(run_of(model=run.model.model_copy(update={"codebook": untrained})))
    aloud = untrained.model_copy(update={"weights": "random"})
    assert [] == errors(run_of(model=run.model.model_copy(update={"codebook": aloud})))
    assert [] == errors(load_spec("flava.base"))


def test_tokenizer_and_text_encoder_must_fit():
    run = load_run("flava.emoji")
    small = run.model.model_copy(update={"text_encoder": TextTransformerSpec(vocab_size=200, length=16)})

    assert [
        "model.text_encoder.vocab_size: the tokenizer has 30522 tokens but the text encoder knows 200 "
        "(see data.tokenizer)",
        "data.tokenizer.length: texts of 32 tokens do not fit an encoder of 16 (see model.text_encoder.length)",
    ] == errors(run_of(model=small))


def test_streams_must_suit_sources_and_losses():
    streams = {
        "a": StreamSpec(source=GlossesSpec(), use="pairs"),
        "b": StreamSpec(source=EmojiSpec(), losses=("mlm",)),
        "c": StreamSpec(source=EmojiSpec(), use="images", losses=("mimm",)),
    }
    run = run_of(data=DataSpec(tokenizer=WordPieceSpec(length=32), streams=streams))

    assert [
        "data.streams.a.use: the source has no image",
        "data.streams.b.losses: mlm does not apply to pairs",
        "data.streams.b: no loss of the model applies to pairs",
        "data.streams.c.losses: the model has no loss named 'mimm' with a weight; it has mim, mlm, mmm_image, "
        "mmm_text, itm, global_contrastive",
        "data.streams.c: no loss of the model applies to images",
    ] == errors(run)


def test_contrast_needs_two_rows():
    run = load_run("flava.emoji")
    streams = {"pairs": StreamSpec(source=EmojiSpec())}

    assert [
        "train.batch_size: contrastive and matching losses compare rows of a batch, so it has to hold at least 2"
    ] == (
        errors(
            run_of(
                data=run.data.model_copy(update={"streams": streams}), train=PretrainTrainSpec(steps=1, batch_size=1)
            )
        )
    )


def test_a_loss_that_no_stream_feeds_is_a_warning():
    run = load_run("flava.emoji")
    streams = {"texts": run.data.streams["texts"], "images": run.data.streams["images"]}
    run = run_of(data=run.data.model_copy(update={"streams": streams}))

    assert [] == errors(run)
    assert "model.losses.itm: no stream of the run feeds it" in warnings(run)


def without_contrast() -> dict[str, object]:
    """The emoji run without its contrastive loss, and without the stream that nothing else reads."""
    run = load_run("flava.emoji")
    losses = {name: loss for name, loss in run.model.losses.items() if name != "global_contrastive"}
    streams = {name: stream for name, stream in run.data.streams.items() if name != "aligned"}
    return {
        "model": run.model.model_copy(update={"losses": losses}),
        "data": run.data.model_copy(update={"streams": streams}),
    }


def test_an_evaluation_says_what_it_needs_of_the_model():
    """Retrieval and zero-shot classification compare in a shared space; the probe does not."""
    emoji = EmojiSpec()
    evaluate = {
        "retrieval": RetrievalSpec(source=emoji),
        "groups": ZeroShotSpec(source=emoji),
        "probe": ProbeSpec(train=emoji, test=emoji),
    }
    lacking = (
        "compares images with texts, but the model has no contrastive loss, which gives both a shared space; add one, "
        "or leave this evaluation out with null (see model.losses)"
    )

    assert [] == errors(run_of(evaluate=evaluate))
    assert [f"evaluate.retrieval: {lacking}", f"evaluate.groups: {lacking}"] == errors(
        run_of(**without_contrast(), evaluate=evaluate)
    )
    assert [] == errors(run_of(**without_contrast(), evaluate={"probe": evaluate["probe"]}))


def test_what_shares_a_space_is_known_by_what_a_loss_reads():
    """A contrastive loss does without a weight too, since its projections are built; so may one of a plugin."""

    class OfPatches(GlobalContrastiveSpec):
        reads = frozenset({"patches", "words"})

    assert wire(FlavaSpec(losses={"contrast": GlobalContrastiveSpec(weight=0)})).shares_space
    assert wire(FlavaSpec(losses={"contrast": OfPatches()})).shares_space
    assert not wire(FlavaSpec(losses={"mim": MIMSpec(), "mlm": MLMSpec(), "itm": ITMSpec()})).shares_space


@pytest.mark.parametrize(
    ("source", "lacking"),
    [
        (EmojiSpec(), False),
        (TableSpec(file="pairs.csv", folder="pictures"), True),
        (ImageFolderSpec(folder="comes later"), False),
    ],
)
def test_classes_are_measured_on_sources_that_have_some(source: SourceSpec, lacking: bool):
    """A folder that is not there yet is not asked."""
    message = "the pictures of flava.table have no classes; take a source with labels"
    evaluate = {"groups": ZeroShotSpec(source=source), "probe": ProbeSpec(train=EmojiSpec(), test=source)}
    expected = [f"evaluate.groups.source: {message}", f"evaluate.probe.test: {message}"] if lacking else []

    assert expected == errors(run_of(evaluate=evaluate))


@pytest.mark.parametrize("name", ["losses", "masks"])
def test_an_evaluation_is_not_called_as_another_picture(name: str):
    retrieval = RetrievalSpec(source=EmojiSpec())

    assert [] == errors(run_of(evaluate={f"{name}_found": retrieval}))
    assert [
        f"evaluate.{name}: {name}.png is another picture of the run's folder; give the evaluation another name"
    ] == errors(run_of(evaluate={name: retrieval}))


def test_special_ids_follow_the_tokenizer():
    """The vocabulary is a consequence: the masker masks with the id that the tokenizer has."""
    vocab = Vocab(size=50, pad=3, unknown=4, summary=5, separator=6, mask=7)
    tiny = load_spec("flava.tiny")
    spec = tiny.model_copy(
        update={
            "text_encoder": TextTransformerSpec(vocab_size=50, width=8, heads=1, depth=1),
            "text_masker": BertTokenMaskerSpec(mask_share=1.0, random_share=0.0),
        }
    )
    ids = torch.full((4, 8), 20)
    ids[:, 0], ids[:, -1] = vocab.summary, vocab.separator
    masked = compose(spec, vocab=vocab).mask({"input_ids": ids}, torch.Generator().manual_seed(0))
    hidden = masked["mlm_labels"] != -100

    assert hidden.any()
    assert not hidden[:, [0, -1]].any()
    assert {vocab.mask} == set(masked["input_ids_masked"][hidden].tolist())


def test_whole_words_need_a_vocabulary_that_marks_pieces():
    """Bert's own does; one cut down to its first ids does not."""
    whole = WholeWordMaskerSpec()

    assert [] == errors(FlavaSpec(text_masker=whole))
    assert ["text_masker: the vocabulary does not mark the pieces of words; use flava.bert_tokens"] == errors(
        FlavaSpec(text_masker=whole, text_encoder=TextTransformerSpec(vocab_size=200))
    )
