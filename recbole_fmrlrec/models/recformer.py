"""RecFormer: items and histories as text, read by one pretrained encoder."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.config.typed import typed
from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.feature_settings import FeatureFolders
from recbole_fmrlrec.data.item_attributes import read_attributes, tokenize_items
from recbole_fmrlrec.data.text_encoder import load_text_encoder
from recbole_fmrlrec.model_api.protocols import StagedModel, TextModel
from recbole_fmrlrec.models.sequence_model import SequenceModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.text_sequences import ItemTokens, TextSequenceEncoder, lay_out_texts

#: Histories of like length that are encoded together: a group is as wide as its longest text.
ROWS_TOGETHER = 16


class RecFormer(StagedModel, TextModel, SequenceModel):
    """The text of a history and the text of an item through one encoder, their cosine as score.

    Source: Li et al., "Text Is All You Need: Learning Language Representations for Sequential
    Recommendation", KDD 2023 (arXiv 2305.13731). An item is its attributes, name and value, behind
    each other; a history is the items, the newest first, behind one first token, whose output
    stands for the whole (section 2.1, 2.2; `nn.text_sequences`). An item's vector is the output for
    a history of that item alone. The score is the cosine over a temperature of 0.05, the loss a
    softmax over all items. Fine-tuning has two stages (section 2.3.2): in the first one all items
    are encoded again at the start of each epoch and stay fixed while it trains; when
    validation has stopped it, the second one goes on from its best weights and keeps the items of
    that epoch. The three attributes, title, brand and categories, their 32 tokens each, the 1,024
    tokens of a history, Longformer's window of 64, the softmax over all items, and rates are those
    of the authors' code for fine-tuning.

    What differs here:

    - The encoder is any that transformers reads from the folder ``encoder``, as it was pre-trained
      on general text. The authors begin with a Longformer that they have trained on the texts and
      histories of seven other domains (section 2.3.1); that pre-training is left out, and vectors
      for kinds of tokens and places of items begin at random. A table says so in its row.
    - A history is cut to the positions that the encoder has, where they are fewer than 1,024.
    - RecBole's row for each prefix of a history; the authors draw one prefix of each user an epoch.
      Encoders read in both directions, so windows trained at every position would see the future.
    - One patience for both stages (``stopping_step``); the authors validate every third epoch, and
      wait for five validations in the first stage and for three in the second. An item's vector is
      that of a history of this item alone, so training a history to be like the next item draws the
      vectors of items that follow each other together from epoch to epoch: validation stops that,
      or ``first_stage_epochs`` does.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its items; their text is read from the ``.item`` file.

    Raises:
        UsageError: ``encoder`` is no folder of an encoder, or the items have no text.
        ValueError: RecBole's negative sampling is on, or ``loss_type`` is not CE.
    """

    loss_types: ClassVar[tuple[str, ...]] = ("CE",)
    stages = 2
    table: Tensor
    token_ids: Tensor
    token_kinds: Tensor
    token_counts: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.first_stage_epochs: int | None = settings["first_stage_epochs"]
        self.temperature = float(settings["temperature"])
        self.encoding_batch_size = int(settings["encoding_batch_size"])
        loaded = load_text_encoder(settings["encoder"], int(settings["attention_window"]))
        self.first, room = loaded.first, loaded.longest
        self.max_tokens = min(int(settings["max_tokens"]), room or int(settings["max_tokens"]))
        say(
            f"{type(self).__name__} on {loaded.name}, not pre-trained on recommendation data; at "
            f"most {self.max_tokens:,} tokens of a history"
        )
        self.feature_info = {"encoders": {"text": loaded.name}, "pretrained_on_histories": False}
        ids = [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]
        attributes = read_attributes(typed(FeatureFolders, config), settings["text_columns"], ids)
        longest = int(settings["max_attribute_tokens"])
        tokens = tokenize_items(loaded.tokenizer, *attributes, longest)
        for name, part in tokens._asdict().items():
            self.register_buffer(f"token_{name}", part, persistent=False)
        self.text = TextSequenceEncoder(
            loaded.body, self.max_seq_length, float(settings["initializer_range"])
        )
        # Part of the state: a checkpoint ranks with the items that it was validated with.
        self.register_buffer("table", torch.zeros(self.n_items, self.text.width))
        self._outdated = True

    @property
    def last_epoch_of_stage(self) -> int | None:  # type: ignore[override]
        """Epochs at which the first stage is over whatever validation says."""
        return self.first_stage_epochs if self.stage == 0 else None

    @property
    def tokens(self) -> ItemTokens:
        """The tokens of all items."""
        return ItemTokens(self.token_ids, self.token_kinds, self.token_counts)

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        """The items come with the weights."""
        super()._load_from_state_dict(state, prefix, *args)
        self._outdated = f"{prefix}table" not in state

    def train(self, mode: bool = True) -> RecFormer:
        """Switch mode; in the first stage each epoch begins with items by the present weights."""
        super().train(mode)
        self._outdated |= mode and self.stage == 0
        return self

    @torch.no_grad()
    def _encode_items(self) -> None:
        training = self.text.training
        self.text.eval()
        # Items of like length together: a batch is as wide as its longest text.
        order = self.token_counts[1:].argsort(stable=True) + 1
        for ids in order.split(self.encoding_batch_size):
            self.table[ids] = self._encode(ids[:, None], torch.ones_like(ids)).to(self.table)
        self.text.train(training)
        self._outdated = False

    def _encode(self, item_seq: Tensor, lengths: Tensor) -> Tensor:
        rows = lay_out_texts(self.tokens, item_seq, lengths, self.first, self.max_tokens)
        hidden: Tensor = self.text(rows)
        return hidden

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 zeros, or a row for each of ``ids``."""
        if self._outdated:
            self._encode_items()
        return self.table if ids is None else self.table[send(ids, self.table.device)]

    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` of right-padded histories ``(B, L)``, which are read from their text
        and not from ``table``."""
        order = self.token_counts[item_seq].sum(1).argsort(stable=True)
        parts = [
            self._encode(item_seq[rows], item_seq_len[rows]) for rows in order.split(ROWS_TOGETHER)
        ]
        return torch.cat(parts)[order.argsort()]

    def output_items(self, vectors: Tensor, ids: Tensor | None = None) -> Tensor:
        """Item vectors ``(C, d)`` of unit length."""
        return functional.normalize(vectors, dim=1)

    def output(self, hidden: Tensor) -> Tensor:
        """Outputs ``(T, d)`` of the length 1 / temperature."""
        return functional.normalize(hidden, dim=1) / self.temperature
