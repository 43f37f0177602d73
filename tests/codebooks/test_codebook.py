"""What all codebooks promise: labels without gradient, in float32, and none before the weights mean something."""

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flava_parts.codebooks.codebook import Codebook
from flava_parts.codebooks.dvae import DVAECodebook
from flava_parts.codebooks.kmeans import KMeansCodebook
from flava_parts.errors import InputError


def dvae(**choices: object) -> DVAECodebook:
    """A dVAE of 8x8 pixels and 4x4 codes; its codes are spread out, so that rounding changes some."""
    torch.manual_seed(0)
    given = {"image_size": 8, "groups": 2, "blocks": 1, "width": 8, "vocab_size": 64, "weights": "random"} | choices
    return DVAECodebook(**given)  # type: ignore[arg-type]


def kmeans(**choices: object) -> KMeansCodebook:
    """A k-means codebook of 8x8 pixels and 4x4 codes, fitted on noise."""
    given = {"image_size": 8, "patch_size": 2, "vocab_size": 64, "iterations": 3} | choices
    codebook = KMeansCodebook(**given)  # type: ignore[arg-type]
    return codebook.fit(pixels(40), torch.Generator().manual_seed(0))


def pixels(batch: int) -> Tensor:
    return torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))


UNREADY: dict[str, Callable[[], Codebook]] = {
    "dvae": lambda: dvae(weights=None),
    "kmeans": lambda: KMeansCodebook(image_size=8, patch_size=2, vocab_size=64),
}
READY: dict[str, Callable[[], Codebook]] = {"dvae": dvae, "kmeans": kmeans}
each = pytest.mark.parametrize("kind", READY)


@each
def test_codes_are_ids_of_the_vocabulary_for_each_cell(kind: str) -> None:
    """(B, C, H, W) to (B, P) int64 below V, without gradient, and the same for an image alone as in a batch."""
    codebook = READY[kind]()
    images = pixels(6).requires_grad_()
    codes = codebook(images)

    assert ((6, 16), torch.int64, False) == (tuple(codes.shape), codes.dtype, codes.requires_grad)
    assert codes.min() >= 0
    assert codes.max() < 64
    assert codes.tolist() == [codebook(image[None])[0].tolist() for image in images]
    assert codes.flip(0).tolist() == codebook(images.flip(0)).tolist()
    assert (0, 16) == tuple(codebook(images[:0]).shape)


@each
@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.double, nn.Module.float])
def test_trap_26_the_model_may_be_cast_but_codes_stay_exact(kind: str, cast: Callable[[nn.Module], nn.Module]) -> None:
    """Casting a model leaves the weights of its codebook as they are, bit for bit, and so its codes."""
    codebook = READY[kind]()
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    codes = codebook(pixels(8))
    model = nn.ModuleDict({"linear": nn.Linear(2, 2), "codebook": codebook})
    cast(model)

    for name, value in codebook.state_dict().items():
        assert torch.equal(before[name], value)
        assert torch.float32 == value.dtype
    assert codes.tolist() == codebook(pixels(8)).tolist()
    assert model["linear"].weight.dtype == cast(nn.Linear(1, 1)).weight.dtype


@each
def test_trap_26_autocast_does_not_reach_inside(kind: str) -> None:
    """Under bfloat16 autocast, which changes some labels of a plain module, the codes are those of float32."""
    codebook = READY[kind]()
    codes = codebook(pixels(200))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = codebook(pixels(200))
        plain = codebook.assign(pixels(200))

    assert codes.tolist() == inside.tolist()
    assert codes.tolist() != plain.tolist()


@each
def test_trap_26_pixels_in_half_precision_are_widened(kind: str) -> None:
    """Half-precision pixels are computed with in float32; so are double ones."""
    codebook = READY[kind]()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        images = pixels(4).to(dtype)
        assert codebook(images.float()).tolist() == codebook(images).tolist()


@each
def test_trap_26_another_default_dtype_and_checkpoints_in_half_do_not_narrow_it(kind: str) -> None:
    """Weights are float32 under another default dtype, and after a bfloat16 checkpoint is loaded or assigned."""
    source = READY[kind]()
    narrow = {name: value.bfloat16() for name, value in source.state_dict().items()}
    for assign in (False, True):
        torch.set_default_dtype(torch.float64)
        try:
            codebook = UNREADY[kind]()
        finally:
            torch.set_default_dtype(torch.float32)
        codebook.load_state_dict(narrow, assign=assign)
        assert {torch.float32} == {value.dtype for value in codebook.state_dict().values()}
        assert (True, (2, 16)) == (codebook.ready, tuple(codebook(pixels(2)).shape))


@each
def test_trap_28_thawing_a_model_does_not_thaw_its_codebook(kind: str) -> None:
    """`model.requires_grad_(True)` reaches no weight of a frozen codebook, and an optimiser would see none."""
    model = nn.ModuleDict({"linear": nn.Linear(2, 2), "codebook": READY[kind]()})
    model.requires_grad_(True)

    assert ["linear.weight", "linear.bias"] == [name for name, _ in model.named_parameters()]
    assert {False} == {value.requires_grad for value in model["codebook"].state_dict(keep_vars=True).values()}


@each
def test_trap_31_a_codebook_that_nothing_trained_gives_no_codes(kind: str) -> None:
    """It is not ready, and being asked for codes or to be saved raises one line that says what to do."""
    codebook = UNREADY[kind]()
    assert codebook.ready is False
    with pytest.raises(InputError, match=r"^the (dVAE|k-means) codebook has .*load a checkpoint.*weights") as caught:
        codebook(pixels(1))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        codebook.save("never-written.safetensors")
    assert READY[kind]().ready is True


@each
def test_trap_31_a_checkpoint_makes_it_ready_unless_that_was_not_ready_itself(kind: str) -> None:
    """Loading a model's state makes its codebook ready; the state of one that was never ready does not."""
    source, target = READY[kind](), UNREADY[kind]()
    nn.ModuleDict({"codebook": target}).load_state_dict(nn.ModuleDict({"codebook": source}).state_dict())

    assert (True, source(pixels(3)).tolist()) == (target.ready, target(pixels(3)).tolist())
    target.load_state_dict(UNREADY[kind]().state_dict())
    assert target.ready is False


@each
def test_trap_31_half_a_checkpoint_does_not_make_it_ready(kind: str) -> None:
    """A state without the codebook, or with weights of another size, leaves it as it was."""
    codebook = UNREADY[kind]()
    nn.ModuleDict({"codebook": codebook}).load_state_dict({}, strict=False)
    assert codebook.ready is False
    with pytest.raises(RuntimeError):
        codebook.load_state_dict({name: value[:1] for name, value in READY[kind]().state_dict().items()})
    assert codebook.ready is False


@each
def test_named_weights_have_to_be_loaded_first(kind: str) -> None:
    """A codebook told of a file reads nothing when built, and says so when asked for codes."""
    codebook = {"dvae": DVAECodebook, "kmeans": KMeansCodebook}[kind](image_size=8, weights="codes.safetensors")

    with pytest.raises(InputError, match=r"^the codebook's weights .* call load_weights\('codes.safetensors'\)$"):
        codebook(pixels(1))


@each
def test_weights_survive_a_file(kind: str, tmp_path: Path) -> None:
    """What `save` writes, `load_weights` reads: the same codes, and the file's tensors are the state dict."""
    codebook = READY[kind]()
    codebook.save(tmp_path / "codes.safetensors")
    restored = UNREADY[kind]().load_weights(tmp_path / "codes.safetensors")

    assert (True, codebook(pixels(5)).tolist()) == (restored.ready, restored(pixels(5)).tolist())
    assert set(codebook.state_dict()) == set(load_file(tmp_path / "codes.safetensors"))


@each
def test_wrong_files_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    """Missing, truncated, foreign and misshapen files each raise an InputError that begins with the path."""
    codebook = UNREADY[kind]()
    good = tmp_path / "good.safetensors"
    READY[kind]().save(good)
    state = load_file(good)
    first = sorted(state)[0]
    for name, content in (("truncated", good.read_bytes()[:-9]), ("empty", b""), ("foreign", b"{}" * 40)):
        (tmp_path / name).write_bytes(content)
    save_file({**state, first: state[first][:1].clone()}, tmp_path / "misshapen")
    save_file({"else": torch.zeros(2)}, tmp_path / "other")
    for name in ("absent", "truncated", "empty", "foreign", "misshapen", "other"):
        path = tmp_path / name
        with pytest.raises(InputError, match="^" + re.escape(str(path)) + ": ") as caught:
            codebook.load_weights(path)
        assert "\n" not in str(caught.value)
        assert codebook.ready is False
    with pytest.raises(InputError, match=rf"{re.escape(first)} is \(1, ?\S*.*\), should be \("):
        codebook.load_weights(tmp_path / "misshapen")


@each
def test_pixels_of_another_size_are_refused(kind: str) -> None:
    """Pixels meant for the image encoder, grey ones, or a single image without a batch are refused with both shapes."""
    codebook = READY[kind]()
    for shape in ((2, 3, 16, 16), (2, 1, 8, 8), (3, 8, 8)):
        with pytest.raises(
            InputError, match=rf"^the codebook needs pixels of shape \(B, 3, 8, 8\), not {re.escape(str(shape))}$"
        ):
            codebook(torch.zeros(shape))


@each
def test_the_meta_device_gives_shapes(kind: str) -> None:
    """Built on the meta device, a codebook allocates nothing, says the shape of its codes, and loads a checkpoint."""
    with torch.device("meta"):
        codebook = UNREADY[kind]()
    assert {True} == {value.is_meta for value in codebook.state_dict().values()}
    assert (2, 16) == tuple(codebook(torch.zeros(2, 3, 8, 8, device="meta")).shape)

    source = READY[kind]()
    codebook.to_empty(device="cpu")
    codebook.load_state_dict(source.state_dict())
    assert source(pixels(3)).tolist() == codebook(pixels(3)).tolist()


@each
def test_copies_are_codebooks_of_their_own(kind: str) -> None:
    """A deep copy and a pickle give the same codes, and loading into a copy leaves the original as it is."""
    codebook = READY[kind]()
    codes = codebook(pixels(3)).tolist()
    for other in (copy.deepcopy(codebook), pickle.loads(pickle.dumps(codebook))):
        assert codes == other(pixels(3)).tolist()
        other.load_state_dict(UNREADY[kind]().state_dict())
        assert (True, False) == (codebook.ready, other.ready)
    assert codes == codebook(pixels(3)).tolist()
