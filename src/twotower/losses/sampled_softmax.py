"""Softmax cross-entropy of the positive against the candidates."""

from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.losses.block_loss import logits_of, own_logits_of, with_prior
from twotower.losses.kernels.powers import linked
from twotower.losses.kernels.softmax import softmax_loss
from twotower.losses.loss import ShownAs
from twotower.losses.temperature import TemperatureLoss
from twotower.negatives.candidates import Candidates


class InBatchSoftmax(TemperatureLoss):
    """-log of the positive's share: L = -s+ + log(exp(s+) + sum over negatives of n_j exp(s_j)).

    s = score / temperature - log q, where q is the probability with which the negatives draw the item and
    n_j how often candidate j was drawn. It is named for its best-known candidates, the other positives of
    the batch, and runs on whichever candidates the negatives give; with the whole catalogue it is the exact
    softmax. A user's own shown negatives are further terms of that user's sum, as if drawn once more.

    Needs: `log_q` when corrected.
    When to prefer: always first; it ranks the positive against all candidates at once.
    Reference: Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019, section 3.
    """

    class Config(TemperatureLoss.Config):
        """Settings of a softmax."""

        temperature: PositiveFloat = 0.07
        """What scores are divided by, before the correction."""
        log_q_correction: bool = True
        """Subtract log q, without which popular items are pushed down for being drawn often."""

        @property
        def needs(self) -> frozenset[str]:
            """`log_q` when the correction is on."""
            return frozenset({"log_q"} if self.log_q_correction else ())

        @property
        def shown(self) -> ShownAs:
            """As further candidates of their own user."""
            return "candidates"

        @property
        def takes_prior(self) -> bool:
            """The kernel does."""
            return True

    config: Config
    shares_users = True

    def mean_loss(
        self,
        users: Tensor,
        positives: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted mean cross-entropy; see `Loss.mean_loss`."""
        users, owners = self.scaled(users), candidates.owners
        own_users = users if owners is None else users.index_select(0, owners)
        logits = self._positive_logits(own_users, positives, candidates)
        return self._loss_of(logits, users, items, candidates, weights, own)

    def _loss_of(
        self,
        positive_logits: Tensor,
        users: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        own: Tensor | None,
    ) -> Tensor:
        """Return the weighted mean cross-entropy of positive logits [P], of users that are scaled."""
        return softmax_loss(
            users,
            items,
            positive_logits,
            self._bias(candidates),
            candidates.masked_positives,
            candidates.masked_candidates,
            weights,
            self._own_logits(users, own, candidates),
            candidates.prior,
            candidates.owners,
            self.config.score_power,
        )

    def _positive_logits(self, users: Tensor, positives: Tensor, candidates: Candidates) -> Tensor:
        """Return the logits [P] of the positives, corrected as those of candidates are."""
        logits = with_prior(linked(logits_of(users, positives), self.config.score_power), candidates)
        return logits - candidates.positive_log_q if self.config.log_q_correction else logits

    def _bias(self, candidates: Candidates) -> Tensor:
        """Return what is added to all logits of a candidate, [C]."""
        bias = candidates.log_count
        return bias - candidates.log_q if self.config.log_q_correction else bias

    def _own_logits(self, users: Tensor, own: Tensor | None, candidates: Candidates) -> Tensor | None:
        """Return logits [P, O] of each user's own candidates, if there are any."""
        if own is None:
            return None
        logits = own_logits_of(users, own, candidates, self.config.score_power)
        if not self.config.log_q_correction:
            return logits
        assert candidates.own_log_q is not None
        return logits - candidates.own_log_q
