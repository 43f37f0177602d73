"""The whole model: mask, encode, fuse, losses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from .facts import (
    BUILT_ON,
    IGNORE,
    STREAM_PASSES,
    Layout,
    Modality,
    Pass,
    Reading,
    Stream,
    Streams,
    passes_to,
    with_bases,
)
from .layers.output import EncoderOutput
from .losses.counts import global_counts, global_shares
from .losses.gather import gather, rank_and_size
from .narrowing import Labelled, Narrowing, narrow, present, takes
from .output import Encoded, FlavaOutput
from .scoring import Scorer, check_pairs

if TYPE_CHECKING:
    from .codebooks.codebook import Codebook
    from .encoders.text import TextTransformer
    from .encoders.vision import VisionTransformer
    from .fusion.transformer import FusionTransformer
    from .losses.value import LossValue
    from .spec import FlavaSpec


ENCODERS = ("image", "text", "multimodal")
"""What the three encoders are called in an output."""
_OF_TEXTS = ("input_ids", "input_ids_masked", "attention_mask", "token_type_ids", "position_ids", "mlm_labels")
"""What goes with a text when another image gets it."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a forward pass was given, under transformers' names."""

    input_ids: Tensor | None = None
    input_ids_masked: Tensor | None = None
    pixel_values: Tensor | None = None
    codebook_pixel_values: Tensor | None = None
    attention_mask: Tensor | None = None
    token_type_ids: Tensor | None = None
    bool_masked_pos: Tensor | None = None
    position_ids: Tensor | None = None
    image_attention_mask: Tensor | None = None
    mlm_labels: Tensor | None = None
    mim_labels: Tensor | None = None
    itm_labels: Tensor | None = None

    @property
    def modalities(self) -> frozenset[Modality]:
        image: set[Modality] = {"image"} if self.pixel_values is not None else set()
        text: set[Modality] = {"text"} if self.input_ids is not None or self.input_ids_masked is not None else set()
        return frozenset(image | text)


class FlavaForPreTraining(Scorer):
    """FLAVA with its pretraining losses (Singh et al. 2022, figure 2).

    Only what an enabled loss, or the caller, asks for is computed. Inputs are never written to.
    """

    def __init__(
        self,
        *,
        image_encoder: VisionTransformer,
        text_encoder: TextTransformer,
        fusion: FusionTransformer | None,
        codebook: Codebook | None,
        image_masker: Callable[..., Any] | None,
        text_masker: Callable[..., Any] | None,
        pair_masker: Callable[..., Any] | None,
        losses: nn.ModuleDict,
        readings: Mapping[str, Reading],
        stream_passes: Mapping[Stream, Pass] = STREAM_PASSES,
        special_ids: Collection[int] = (),
        spec: FlavaSpec | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.fusion = fusion
        self.codebook = codebook
        self.image_masker = image_masker
        self.text_masker = text_masker
        self.pair_masker = pair_masker
        self.losses = losses
        self.readings = dict(readings)
        self.stream_passes = dict(stream_passes)
        self.special_ids = tuple(special_ids)
        self.spec = spec
        self.loss_means: Literal["global", "local"] = "global"
        """Whether losses are means over the rows of all ranks, or of each rank, as in the references."""

    # ------------------------------------------------------------------------------------------------ masking

    def mask(
        self, batch: Mapping[str, Tensor], generator: torch.Generator, *, losses: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        """A copy of a batch with the masks and labels that its losses need, where the batch does not have them yet.

        Draws, in this order and only if a loss reads it: mismatched texts (``itm_labels``, (B,)), hidden patches
        (``bool_masked_pos``, (B, P)), hidden words (``input_ids_masked`` and ``mlm_labels``, (B, L)). Everything comes
        from ``generator``, on the CPU. ``special_tokens_mask`` (B, L) says which words are never hidden; without it
        padding and the tokenizer's special ids are not. It is not part of what comes back.
        """
        batch = dict(batch)
        special = batch.pop("special_tokens_mask", None)
        inputs = _Inputs(**batch)
        reads = frozenset(stream for name in self._applicable(inputs, losses) for stream in self.readings[name].streams)
        passes = passes_to(reads, self.stream_passes)
        ids = inputs.input_ids
        if (
            self.pair_masker is not None
            and Streams.MATCH_LABELS in reads
            and ids is not None
            and "itm_labels" not in batch
        ):
            pairs = self.pair_masker(len(ids), generator)
            rows = pairs.texts.to(ids.device)
            for name in _OF_TEXTS:
                if name in batch and len(batch[name]) == len(ids):
                    batch[name] = batch[name][rows]
            special = special[rows] if special is not None else None
            batch["itm_labels"] = pairs.labels.to(ids.device)
            ids = batch["input_ids"]
        pixels = inputs.pixel_values
        hide_patches = "image_masked" in passes and "bool_masked_pos" not in batch
        if self.image_masker is not None and hide_patches and pixels is not None:
            batch["bool_masked_pos"] = self.image_masker(len(pixels), generator).to(pixels.device)
        hide_words = "text_masked" in passes and "input_ids_masked" not in batch
        if self.text_masker is not None and hide_words and ids is not None:
            masked = self.text_masker(ids, self._special(ids, batch.get("attention_mask"), special), generator)
            batch["input_ids_masked"], batch["mlm_labels"] = masked.ids, masked.labels
        return batch

    def _special(self, ids: Tensor, keep: Tensor | None, special: Tensor | None) -> Tensor:
        if special is None:
            special = torch.isin(ids, torch.tensor(self.special_ids, device=ids.device))
        if keep is not None and keep.dim() == 3:  # of several texts in one row: a real word attends to itself
            keep = keep.diagonal(dim1=1, dim2=2)
        return special.bool() if keep is None else special.bool() | ~keep.bool()

    # ---------------------------------------------------------------------------------------------- pretraining

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_ids_masked: Tensor | None = None,
        pixel_values: Tensor | None = None,
        codebook_pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        position_ids: Tensor | None = None,
        image_attention_mask: Tensor | None = None,
        mlm_labels: Tensor | None = None,
        mim_labels: Tensor | None = None,
        itm_labels: Tensor | None = None,
        *,
        losses: Collection[str] | None = None,
        passes: Collection[Pass] = (),
        output_states: bool = True,
        output_logits: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> FlavaOutput:
        """The losses of a batch, which holds images, texts, or pairs of both.

        Args:
            input_ids: clean texts (B, L).
            input_ids_masked: the same with words hidden (B, L); the clean ones if not given.
            pixel_values: images (B, C, H, W).
            codebook_pixel_values: the codebook's view of them (B, C, h, w), from which ``mim_labels`` follow.
            attention_mask: (B, L), 1 or true at real words, 0 at padding; all are real if not given. For texts alone
                also (B, L, L), which says of each word which others it attends to: several texts in one row.
            token_type_ids: (B, L) segments; all 0 if not given.
            bool_masked_pos: (B, P) or (B, rows, columns), true at hidden patches.
            position_ids: (B or 1, L); counted from 0 if not given.
            image_attention_mask: (B, P), 1 or true at patches to attend to; all if not given.
            mlm_labels: (B, L), ids at hidden words, -100 elsewhere.
            mim_labels: (B, P) or (B, rows, columns), the code of each patch; only those of hidden patches are used.
            itm_labels: (B,) or (B, 1), 1 where image and text match, 0 where not.
            losses: names of the losses to compute; all that apply to the batch and have their labels if not given.
            passes: encoder passes to run, whole, even if no loss reads them: ``image``, ``multimodal``, ...
            output_states: whether the states of the passes come back. If not, those that no loss reads are not
                computed either, unless ``passes`` asks: most positions of each last block, and padding. Losses and
                gradients stay the same, up to rounding, unless there is dropout, whose noise is then drawn for other
                positions. Then streams come back only if a loss reads them, or ``passes`` asks for theirs.
            output_logits: whether heads run at every position, labelled or not, and also without labels.
            output_attentions: whether every pass returns its attention weights.
            output_hidden_states: whether every pass returns the states between its blocks.

        Among several processes, each gives losses such that their mean over the processes is the loss of the whole
        batch, however unevenly labels are spread; with ``loss_means`` set to ``local``, the mean of its own rows.

        Raises ValueError if the inputs do not fit each other, or a loss asked for by name lacks an input.
        """
        inputs = _Inputs(
            input_ids=input_ids,
            input_ids_masked=input_ids_masked,
            pixel_values=pixel_values,
            codebook_pixel_values=codebook_pixel_values,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            bool_masked_pos=bool_masked_pos,
            position_ids=position_ids,
            image_attention_mask=image_attention_mask,
            mlm_labels=mlm_labels,
            mim_labels=mim_labels,
            itm_labels=_match_labels(itm_labels),
        )
        _check_batch_sizes(inputs)
        if unknown := set(passes) - set(get_args(Pass)):
            raise ValueError(f"no pass named {', '.join(sorted(unknown))}; there are {', '.join(get_args(Pass))}")
        self._check_asked(inputs, losses or ())
        applicable = [
            name
            for name in self._applicable(inputs, losses)
            if self._has_clean_text(inputs, name, asked=losses is not None)
        ]
        computed = [name for name in applicable if self._has_labels(inputs, name, asked=losses is not None)]
        headed = applicable if output_logits else computed
        wanted = set(passes).union(*(passes_to(self.readings[name].streams, self.stream_passes) for name in headed))
        matched = self._matched(inputs)
        whole = bool(passes) or output_states or output_logits or output_attentions or output_hidden_states
        narrowing = Narrowing() if whole else self._narrowing(inputs, wanted, matched, readings=computed)
        image_labels: dict[Stream, Tensor] = {}
        if any(Streams.IMAGE_LABELS in self.readings[name].streams for name in computed):
            # Before the passes: what they keep then takes the memory that the codebook worked in.
            image_labels[Streams.IMAGE_LABELS] = self._image_labels(inputs, matched, narrowing)
        states = self._run(
            inputs, wanted, narrowing, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        streams = self._streams(inputs, states, narrowing, matched) | image_labels
        for stream, labelled in narrowing.labelled.items():
            if stream in streams:
                streams[stream] = labelled(streams[stream])
        values: dict[str, LossValue] = {name: self.losses[name](streams, dense=output_logits) for name in computed}
        logits = {name: value.logits for name, value in values.items() if value.logits is not None}
        logits |= {name: self._module(name).logits(streams) for name in headed if name not in values}
        weighted = self._over_ranks(values)
        if not output_states:
            # DDP takes what comes back for what gradients come from.
            read = frozenset[Stream]().union(*(self.readings[name].streams for name in computed))
            streams = {
                name: stream
                for name, stream in streams.items()
                if name in read or self.stream_passes.get(name) in passes or not stream.is_floating_point()
            }
        return FlavaOutput(
            loss=torch.stack(list(weighted.values())).sum() if weighted else None,
            losses=weighted,
            counts={name: value.count for name, value in values.items()},
            logits=logits,
            streams=streams,
            **(states if output_states else {}),
        )

    def losses_of(self, streams: Mapping[Stream, Tensor], names: Collection[str]) -> dict[str, Tensor]:
        """These losses () of streams that the caller has, weighted as `forward` weights them."""
        return self._over_ranks({name: self.losses[name](streams) for name in names})

    def rows_counted(self, counts: Tensor) -> Tensor:
        """Of how many rows losses are means, given the counts (…) of this rank's rows: of all ranks', or its own."""
        return global_counts(counts) if self._means_over_ranks() else counts

    def _over_ranks(self, values: Mapping[str, LossValue]) -> dict[str, Tensor]:
        """The losses () of this rank's rows, such that their mean over the ranks is that over all rows."""
        if not values or not self._means_over_ranks():
            return {name: value.value for name, value in values.items()}
        shares = global_shares(torch.stack([value.count for value in values.values()]))
        return {
            name: value.value * share.to(value.value.dtype)
            for (name, value), share in zip(values.items(), shares, strict=True)
        }

    def _applicable(self, inputs: _Inputs, asked: Collection[str] | None) -> list[str]:
        """The losses with a weight that are for batches like this one, and among those asked for."""
        unknown = set(asked or ()) - set(self.losses)
        if unknown:
            raise ValueError(f"no loss named {', '.join(sorted(unknown))}; the model has {', '.join(self.losses)}")
        return [
            name
            for name, loss in self.losses.items()
            if loss.weight and self.readings[name].modalities == inputs.modalities and (asked is None or name in asked)
        ]

    def _check_asked(self, inputs: _Inputs, asked: Collection[str]) -> None:
        """Raise ValueError for a loss that is for another kind of batch."""
        for name in asked:
            if name in self.readings and self.readings[name].modalities != inputs.modalities:
                wanted, given = (
                    " and ".join(sorted(each)) for each in (self.readings[name].modalities, inputs.modalities)
                )
                raise ValueError(f"{name} was asked for, which is for {wanted}, but the batch has {given or 'nothing'}")

    def _has_clean_text(self, inputs: _Inputs, name: str, *, asked: bool) -> bool:
        has = inputs.input_ids is not None or Streams.TEXT_SUMMARY not in self.readings[name].streams
        if not has and asked:
            raise ValueError(f"{name} was asked for, but there are no input_ids, only masked ones")
        return has

    def _has_labels(self, inputs: _Inputs, name: str, *, asked: bool) -> bool:
        reads = self.readings[name].streams
        missing: list[str] = []
        if Streams.IMAGE_LABELS in reads:
            from_codebook = self.codebook is not None and inputs.codebook_pixel_values is not None
            if inputs.mim_labels is None and not from_codebook:
                missing.append("mim_labels or codebook_pixel_values")
            elif inputs.bool_masked_pos is None:
                raise ValueError(f"{name} has labels but no bool_masked_pos, which says where patches are hidden")
        if Streams.TEXT_LABELS in reads and inputs.mlm_labels is None:
            missing.append("mlm_labels")
        if Streams.MATCH_LABELS in reads and inputs.itm_labels is None:
            missing.append("itm_labels")
        if missing and asked:
            raise ValueError(f"{name} was asked for, but there are no {' and no '.join(missing)}")
        return not missing

    def _matched(self, inputs: _Inputs) -> Tensor | None:
        """The rows (B,) bool that count as true pairs; None if nobody says."""
        judge = self._first("matched")
        if inputs.itm_labels is None or judge is None or not judge.weight:
            return None
        labels = inputs.itm_labels
        if not self._means_over_ranks():
            return judge.matched(labels)
        rank, _ = rank_and_size()  # what is said of a batch without a true pair is said of the whole batch
        return judge.matched(gather(labels, "none"))[rank * len(labels) :][: len(labels)]

    def _means_over_ranks(self) -> bool:
        return self.loss_means == "global" and rank_and_size()[1] > 1

    def _narrowing(
        self,
        inputs: _Inputs,
        wanted: Collection[Pass],
        matched: Tensor | None,
        *,
        readings: Collection[str],
    ) -> Narrowing:
        """What the ``wanted`` passes, which only the losses named in ``readings`` read, may leave out."""
        built_on: set[Pass] = set().union(*(BUILT_ON.get(name, frozenset()) for name in wanted))
        if inputs.bool_masked_pos is None:
            built_on |= {"image", "image_masked"}  # one pass is both
        if inputs.input_ids_masked is None:
            built_on |= {"text", "text_masked"}
        encoders: dict[str, nn.Module | None] = {
            "image": self.image_encoder,
            "text": self.text_encoder,
            "multimodal": self.fusion,
        }
        able: set[Pass] = {
            name for name in wanted if name not in built_on and takes(encoders[name.removesuffix("_masked")], "read")
        }
        has_label: dict[Stream, Tensor] = {}
        if not torch.compiler.is_compiling():  # how many positions have a label is not known then
            if inputs.bool_masked_pos is not None:
                has_label[Streams.IMAGE_LABELS] = inputs.bool_masked_pos.flatten(1).bool()
            if inputs.mlm_labels is not None:
                has_label[Streams.TEXT_LABELS] = inputs.mlm_labels != IGNORE
        if matched is not None:
            has_label = {stream: labels & matched[:, None] for stream, labels in has_label.items()}
        read = [self.readings[name] for name in readings]
        narrowing = narrow(read, able, has_label, self.stream_passes)
        if {"multimodal", "multimodal_masked"}.intersection(wanted) and not getattr(
            self.fusion, "mask_text_padding", False
        ):
            return narrowing
        return replace(narrowing, present=present(inputs.attention_mask, inputs.mlm_labels, read, self.stream_passes))

    def _streams(
        self, inputs: _Inputs, states: Mapping[Pass, EncoderOutput], narrowing: Narrowing, matched: Tensor | None
    ) -> dict[Stream, Tensor]:
        """Every stream that the passes which ran can give, and the labels that were given with the batch."""
        streams: dict[Stream, Tensor] = {
            name: stream
            for run, output in states.items()
            for name, stream in (output.streams or {}).items()
            if self.stream_passes.get(name) == run
        }
        if "image" in states:
            streams[Streams.IMAGE_SUMMARY] = states["image"].last_hidden_state[:, 0]
        if "text" in states:
            streams[Streams.TEXT_SUMMARY] = states["text"].last_hidden_state[:, 0]
        if "image_masked" in states:
            patches = states["image_masked"].last_hidden_state
            streams[Streams.MASKED_PATCHES] = (
                patches if "image_masked" in narrowing.passes else patches[:, self._prefix :]
            )
        if "text_masked" in states:
            streams[Streams.MASKED_WORDS] = states["text_masked"].last_hidden_state
        if "multimodal_masked" in states and self.fusion is not None:
            fused = states["multimodal_masked"].last_hidden_state
            _, layout = narrowing.fused(
                "multimodal_masked", self._layout(states["image_masked"], states["text_masked"]), fused.device
            )
            streams[Streams.FUSED_SUMMARY] = fused[:, layout.summary]
            streams[Streams.FUSED_PATCHES] = fused[:, layout.patches]
            streams[Streams.FUSED_WORDS] = fused[:, layout.words]
        if inputs.itm_labels is not None:
            streams[Streams.MATCH_LABELS] = inputs.itm_labels
            if matched is not None:
                streams[Streams.MATCHED] = matched
        if inputs.mlm_labels is not None:
            streams[Streams.TEXT_LABELS] = _where(inputs.mlm_labels, matched)
        return streams

    @property
    def _prefix(self) -> int:
        """How many tokens of the image encoder come before its patches."""
        return getattr(self.image_encoder, "prefix", 0)

    def _layout(self, image: EncoderOutput, text: EncoderOutput) -> Layout:
        """How the fusion lays out the states of these images and texts."""
        assert self.fusion is not None
        return self.fusion.layout(patches=image.pre_norm.shape[1] - self._prefix, words=text.pre_norm.shape[1])

    def _image_labels(self, inputs: _Inputs, matched: Tensor | None, narrowing: Narrowing) -> Tensor:
        """The code of each hidden patch of a true pair (B, P), `IGNORE` elsewhere."""
        assert inputs.bool_masked_pos is not None
        masked = inputs.bool_masked_pos.flatten(1).bool()
        labels = inputs.mim_labels
        if labels is None:
            assert inputs.codebook_pixel_values is not None
            labelled = narrowing.labelled.get(Streams.IMAGE_LABELS)
            labels = self._codes(inputs.codebook_pixel_values, masked, labelled)
        labels = labels.flatten(1)
        if labels.shape != masked.shape:
            raise ValueError(
                f"there are {tuple(labels.shape)} image labels but {tuple(masked.shape)} patches in the mask"
            )
        return _where(torch.where(masked, labels, IGNORE), matched)

    def _codes(self, pixels: Tensor, masked: Tensor, labelled: Labelled | None) -> Tensor:
        """Codes (B, P) of all patches, or of those that are ``labelled``, and `IGNORE` in rows that have none."""
        assert self.codebook is not None
        if labelled is None:
            return self.codebook(pixels)
        rows, places = labelled.rows, labelled.positions[labelled.rows]
        codes = torch.full_like(masked, IGNORE, dtype=torch.long)
        if not len(rows):
            return codes
        if takes(self.codebook, "read"):
            return codes.index_put((rows[:, None], places), self.codebook(pixels[rows], read=places))
        found = self.codebook(pixels[rows]).flatten(1)
        return found.new_full((len(pixels), found.shape[1]), IGNORE).index_copy(0, rows, found)

    # ------------------------------------------------------------------------------------------------- encoding

    def _run(
        self,
        inputs: _Inputs,
        wanted: Collection[Pass],
        narrowing: Narrowing,
        *,
        head_mask: Mapping[str, Tensor] | None = None,
        **output: bool,
    ) -> dict[Pass, EncoderOutput]:
        """Run the wanted passes, and those they build on. Where nothing is masked, the masked pass is the clean one."""
        of_image, of_text, of_pair = (
            output if head_mask is None or encoder not in head_mask else output | {"head_mask": head_mask[encoder]}
            for encoder in ENCODERS
        )
        wanted = with_bases(wanted)
        # Texts first: of what the backward pass then has left when gradients of the many words come, least is kept.
        states = self._texts(inputs, wanted, narrowing, of_text) | self._images(inputs, wanted, narrowing, of_image)
        for fused, image, text in (
            ("multimodal", "image", "text"),
            ("multimodal_masked", "image_masked", "text_masked"),
        ):
            if fused in wanted and self.fusion is not None and image in states and text in states:
                whole = self._layout(states[image], states[text])
                read, _ = narrowing.fused(fused, whole, states[image].pre_norm.device)
                states[fused] = self.fusion(
                    states[image].pre_norm,
                    states[text].pre_norm,
                    inputs.image_attention_mask,
                    inputs.attention_mask,
                    **of_pair,
                    **_reading(read),
                    **_among(self.fusion, "text_present", narrowing),
                )
        return states

    def _texts(
        self, inputs: _Inputs, wanted: Collection[Pass], narrowing: Narrowing, asked: Mapping[str, Any]
    ) -> dict[Pass, EncoderOutput]:
        """The wanted passes of the text encoder."""
        ids, masked_ids = inputs.input_ids, inputs.input_ids_masked
        around = (inputs.attention_mask, inputs.token_type_ids, inputs.position_ids)
        return _passes(
            self.text_encoder,
            ("text", "text_masked"),
            wanted,
            clean=None if ids is None else (ids, *around),
            masked=None if masked_ids is None else (masked_ids, *around),
            together={"clean_ids": ids},
            reads=(
                None if ids is None else narrowing.summary("text", ids.device),
                narrowing.labels("text_masked", Streams.TEXT_LABELS),
            ),
            asked={**asked, **_among(self.text_encoder, "present", narrowing)},
        )

    def _images(
        self, inputs: _Inputs, wanted: Collection[Pass], narrowing: Narrowing, asked: Mapping[str, Any]
    ) -> dict[Pass, EncoderOutput]:
        """The wanted passes of the image encoder."""
        pixels, hidden = inputs.pixel_values, inputs.bool_masked_pos
        if pixels is None:
            return {}
        return _passes(
            self.image_encoder,
            ("image", "image_masked"),
            wanted,
            clean=(pixels,),
            masked=None if hidden is None else (pixels, hidden),
            together={"with_clean": True},
            reads=(
                narrowing.summary("image", pixels.device),
                narrowing.labels("image_masked", Streams.IMAGE_LABELS, first=self._prefix),
            ),
            asked={"keep": inputs.image_attention_mask, **asked},
        )

    def encode(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        position_ids: Tensor | None = None,
        image_attention_mask: Tensor | None = None,
        *,
        fuse: bool = True,
        head_mask: Mapping[str, Tensor] | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> Encoded:
        """The states of images, texts, or both, and of the pairs unless ``fuse`` is false; no losses.

        Shapes are those of `forward`; ``bool_masked_pos`` hides patches. ``head_mask`` has for any of ``image``,
        ``text`` and ``multimodal`` the factors (heads,) or (depth, heads) that multiply the attention weights of that
        encoder's heads. Raises ValueError if images and texts are not equally many, or a head mask does not fit.
        """
        if head_mask is not None and (unknown := set(head_mask) - set(ENCODERS)):
            raise ValueError(f"head_mask is for {', '.join(ENCODERS)}, not for {', '.join(sorted(unknown))}")
        inputs = _Inputs(
            input_ids_masked=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            bool_masked_pos=bool_masked_pos,
            position_ids=position_ids,
            image_attention_mask=image_attention_mask,
        )
        _check_batch_sizes(inputs)
        wanted: list[Pass] = ["image_masked", "text_masked"]
        if fuse:
            wanted.append("multimodal_masked")
        states = self._run(
            inputs,
            wanted,
            Narrowing(),
            head_mask=head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return Encoded(
            image=states.get("image_masked"), text=states.get("text_masked"), multimodal=states.get("multimodal_masked")
        )

    def _module(self, loss: str) -> Any:
        return self.losses[loss]


def _passes(
    encoder: nn.Module,
    names: tuple[Pass, Pass],
    wanted: Collection[Pass],
    *,
    clean: tuple[Any, ...] | None,
    masked: tuple[Any, ...] | None,
    together: Mapping[str, Any],
    reads: tuple[Tensor | None, Tensor | None],
    asked: Mapping[str, Any],
) -> dict[Pass, EncoderOutput]:
    """The wanted ones of an encoder's clean and masked pass, of the arguments of each; None where there are none.

    An encoder that takes the arguments ``together`` runs both at once, since its weights are then read once. Where
    nothing is masked, the masked pass is the clean one.
    """
    clean_name, masked_name = names
    of_clean, of_masked = reads
    if masked_name not in wanted:
        masked = None
    elif masked is None:
        wanted = {*wanted, clean_name}
    if clean_name not in wanted:
        clean = None
    if clean is not None and masked is not None and all(takes(encoder, argument) for argument in together):
        both = encoder(*masked, **_reading(of_masked), **asked, **together, clean_read=of_clean)
        return {clean_name: both.clean, masked_name: replace(both, clean=None)}
    states: dict[Pass, EncoderOutput] = {}
    if clean is not None:
        states[clean_name] = encoder(*clean, **_reading(of_clean), **asked)
    if masked is not None:
        states[masked_name] = encoder(*masked, **_reading(of_masked), **asked)
    elif masked_name in wanted and clean is not None:
        states[masked_name] = states[clean_name]
    return states


def _reading(positions: Tensor | None) -> dict[str, Tensor]:
    """The argument that tells an encoder which positions to give; none if all, which every encoder can."""
    return {} if positions is None else {"read": positions}


def _among(part: nn.Module, argument: str, narrowing: Narrowing) -> dict[str, Tensor]:
    """The argument that tells a part which words matter, if it takes it and there are others."""
    return {argument: narrowing.present} if narrowing.present is not None and takes(part, argument) else {}


def _match_labels(labels: Tensor | None) -> Tensor | None:
    """Labels (B,) or (B, 1) as (B,) int64. Raises ValueError for anything but 0 (mismatch) and 1 (match)."""
    if labels is None:
        return None
    # Looking at values on another device would wait for it; there the loss itself refuses what is out of range. Tensors
    # of another class need not have values.
    seen = type(labels) is Tensor and labels.device.type == "cpu" and not torch.compiler.is_compiling()
    if seen and not ((labels == 0) | (labels == 1)).all():
        raise ValueError("itm_labels are 1 where image and text match and 0 where they do not, nothing else")
    return labels.flatten().long()


def _where(labels: Tensor, rows: Tensor | None) -> Tensor:
    """Labels (B, N), ignored outside the rows (B,)."""
    return labels if rows is None else torch.where(rows[:, None], labels, IGNORE)


def _check_batch_sizes(inputs: _Inputs) -> None:
    texts = inputs.input_ids if inputs.input_ids is not None else inputs.input_ids_masked
    images = inputs.pixel_values
    for name in ("input_ids_masked", "attention_mask", "token_type_ids", "mlm_labels"):
        given = getattr(inputs, name)
        if texts is not None and given is not None and given.shape[:2] != texts.shape:
            raise ValueError(f"{name} is {tuple(given.shape)}, but the texts are {tuple(texts.shape)}")
    if images is not None and inputs.attention_mask is not None and inputs.attention_mask.dim() == 3:
        raise ValueError("an attention_mask (B, L, L) is for texts alone; pairs have one text a row")
    if images is not None and texts is not None:
        check_pairs(images, texts)
    if images is not None and inputs.itm_labels is not None and inputs.itm_labels.shape != images.shape[:1]:
        raise ValueError(f"itm_labels are {tuple(inputs.itm_labels.shape)}, but there are {images.shape[0]} pairs")
