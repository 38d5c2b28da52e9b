"""FMLP-Rec as a RecBole sequential recommender.

Source: Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022
(arXiv 2202.13556).
"""

from __future__ import annotations

from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.models.whole_row import WholeRowModel
from recbole_fmrlrec.nn.fmlprec import FMLPRecNetwork
from recbole_fmrlrec.nn.whole_row import WholeRowNetwork


class FMLPRec(WholeRowModel):
    """Blocks of a learned filter over the whole row and a feed-forward layer; no attention.

    Trains on RecBole's row per prefix at its last position, as the authors do: a filter reads the
    whole row, so at any other position the model would have seen the item that it is to predict.

    From the paper, section 3: item vectors with positions, the product with complex weights between
    two Fourier transforms, post-norm blocks. From the authors' code: rows padded on the left to one
    length, where the filter reads the padding too, whose item vector is a random one that is never
    trained; GELU, four times as wide; filters that start normal with deviation 0.02, as do all
    other weights.

    What differs: the authors' loss holds one drawn item against each target (a pairwise loss in the
    paper, binary cross-entropy in the code) and their paper ranks among 100 items. Here the loss is
    the softmax over all items, as in the figures that later work reports for the model; training
    rows and candidates are those of every other model.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: as `SequenceModel`.
    """

    def make_network(self, settings: ModelSettings, width: int, std: float) -> WholeRowNetwork:
        """Its positions and blocks."""
        return FMLPRecNetwork(
            width,
            self.max_seq_length,
            blocks=settings["num_blocks"],
            dropout=settings["hidden_dropout_prob"],
            init_std=std,
        )
