"""A mixture of Gaussians, and the mean of an image given its noisy version, in closed form.

The score of noisy images follows from this mean: with x = s image + n noise, the gradient of
log p(x) is (s E[image | x] - x) / n^2 (Tweedie's formula; Efron, 2011).
"""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """K Gaussians over D numbers, all tensors float64 on one device.

    The covariance of each is A^T A + bandwidth^2 I, and the rows of its factor A are orthogonal.
    """

    means: Tensor
    """(K, D)."""
    log_weights: Tensor
    """(K,) up to a constant."""
    factors: Tensor
    """(R, D) rows of all factors."""
    owners: Tensor
    """(R,) int64: the Gaussian to which each row belongs."""
    labels: Tensor
    """(K,) int64: class of each Gaussian."""
    bandwidth: float

    @cached_property
    def variances(self) -> Tensor:
        """(R,) variances along the rows, without that of the bandwidth."""
        return self.factors.square().sum(dim=1)

    @cached_property
    def centres(self) -> Tensor:
        """(R,) products of each row with its Gaussian's mean."""
        return (self.factors * self.means[self.owners]).sum(dim=1)

    @cached_property
    def membership(self) -> Tensor:
        """(R, K): 1 where a row belongs to a Gaussian."""
        return one_hot(self.owners, len(self.means)).to(self.means.dtype)

    def of_class(self, label: int) -> "Mixture":
        """The Gaussians of one class, of which there is at least one."""
        if label not in self._by_class:
            kept = self.labels == label
            rows = kept[self.owners]
            numbers = kept.cumsum(0) - 1
            self._by_class[label] = replace(
                self,
                means=self.means[kept],
                log_weights=self.log_weights[kept],
                factors=self.factors[rows],
                owners=numbers[self.owners[rows]],
                labels=self.labels[kept],
            )
        return self._by_class[label]

    @cached_property
    def _by_class(self) -> "dict[int, Mixture]":
        return {}

    def posterior_mean(self, noisy: Tensor, signal_rate: Tensor, noise_rate: Tensor) -> Tensor:
        """E[image | noisy = signal_rate image + noise_rate noise].

        Args:
            noisy: (B, D).
            signal_rate: (B, 1).
            noise_rate: (B, 1), above 0.

        Returns:
            (B, D).
        """
        s, rest = signal_rate, (signal_rate * self.bandwidth) ** 2 + noise_rate**2
        total = s**2 * self.variances + rest
        along = noisy @ self.factors.T - s * self.centres
        pull = s * self.bandwidth**2 / rest
        means, scale = self.means, s
        if len(self.means) > 1:
            shares = self._shares(noisy, s, rest, total, along)
            means, scale = shares @ self.means, shares @ self.membership.T * s
        weights = scale * along * noise_rate**2 / (rest * total)
        return (1 - pull * s) * means + pull * noisy + weights @ self.factors

    def _shares(
        self, noisy: Tensor, s: Tensor, rest: Tensor, total: Tensor, along: Tensor
    ) -> Tensor:
        """(B, K) probability of each Gaussian to be the origin of a noisy image."""
        distances = (
            noisy.square().sum(dim=1, keepdim=True)
            - 2 * s * (noisy @ self.means.T)
            + s**2 * self.means.square().sum(dim=1)
        )
        explained = (s**2 * along.square() / total) @ self.membership
        log_volumes = (total / rest).log() @ self.membership
        logits = self.log_weights - (distances - explained) / (2 * rest) - log_volumes / 2
        return logits.softmax(dim=1)
