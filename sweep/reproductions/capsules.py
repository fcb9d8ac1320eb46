"""The published results that `sweep reproduce` can repeat.

To add one, write a module with a function `reproduce` and add an entry to CAPSULES. The function is
imported when it is run, so that the list needs no torch.
"""

from dataclasses import dataclass
from importlib import import_module

from model.errors import check_choice
from sweep.reproductions.rows import Reproduction


@dataclass(frozen=True, kw_only=True, slots=True)
class Capsule:
    """A published result."""

    module: str
    """Module of this package with its function `reproduce`."""
    title: str
    source: str
    """Where it was published."""
    setting: str
    """What is run here, and how its numbers are compared."""

    def reproduce(self) -> Reproduction:
        """Run the experiment."""
        return import_module(f"sweep.reproductions.{self.module}").reproduce()


def capsule_of(name: str) -> Capsule:
    """The capsule called `name`; raises UsageError with a suggestion."""
    check_choice("NAME", name, CAPSULES)
    return CAPSULES[name]


LINEAGES = (
    "Lineages of family gaussian through the system's own pools, streams and store. Each of 24 "
    "seeds has real images of its own: float32 noise of 8x8 pixels, neither clipped nor rounded. "
    "Each pixel is a one-dimensional lineage; standard errors are over seeds."
)

CAPSULES: dict[str, Capsule] = {
    "kazdan-2024": Capsule(
        module="kazdan_2024",
        title="Gaussian fits keep their variance under accumulate and lose it under replace",
        source="Kazdan et al., Collapse or Thrive? (arXiv:2410.16713), with the authors' records",
        setting=f"{LINEAGES} Published numbers are means of 99 or 100 runs; Welch's t.",
    ),
    "dey-2024": Capsule(
        module="dey_2024",
        title="Under accumulate, estimates keep an efficiency of at least 6/pi^2 = 0.608",
        source="Dey and Donoho, Universality of the pi^2/6 Pathway (arXiv:2410.22812)",
        setting=f"{LINEAGES} Formulas are those of many images; ours have 400. Student's t.",
    ),
    "suresh-2024": Capsule(
        module="suresh_2024",
        title="Under replace, the deviation of Gaussian fits vanishes within about n refits",
        source="Suresh et al., Rate of Model Collapse in Recursive Training (arXiv:2412.17646)",
        setting=f"{LINEAGES} Exact expectations of one refit, n times; Student's t.",
    ),
    "shi-2025": Capsule(
        module="shi_2025",
        title="Filters of all real and synthetic images keep the entropy that random subsets lose",
        source="Shi et al., A Closer Look at Model Collapse (arXiv:2509.16499)",
        setting=(
            "Training sets of 100 images, kept of all so far by pool.rule=select with "
            "farthest-point (greedy) or threshold-decay, on pixels, or at random by subsample. "
            "Models are exact Gaussians with the 20 steps of the Keras example, whose images lose "
            "variance. Each of 24 seeds has real images of its own: float32 noise of 8x8 pixels. "
            "Entropy, in nats, is that of Kozachenko and Leonenko. Student's t; entropies are "
            "compared within a seed."
        ),
    ),
    "khelifa-2026": Capsule(
        module="khelifa_2026",
        title="Samplers that stop early converge to real images with more and more noise, mixed",
        source="Khelifa et al., Recursively Trained Diffusion Models (arXiv:2606.13796)",
        setting=(
            "Lineages of exact-gaussian whose sampler stops at signal rate s = 0.95 "
            "(sample.denoise_last=False), with a share lambda = 0.5 of new real images "
            "(pool.rule=fresh). Each of 24 seeds has real images of its own: float32, 4x4 "
            "independent pixels of large variance (head), of small variance (tail), or with a mean "
            "(middle). Pools have 1,024 images; V_7 is compared with limits. The last row has the "
            "sampler of the Keras example. Student's t."
        ),
    ),
    "ferbach-2024": Capsule(
        module="ferbach_2024",
        title="Retraining on the preferred of K images converges to the images of highest reward",
        source="Ferbach et al., Self-Consuming Models with Curated Data (arXiv:2407.09499)",
        setting=(
            "The filter reward (filter.name=reward) on a finite set of four images (p_0: 0.5, 0.3, "
            "0.15, 0.05), of which the last two have the highest reward. Each model is the "
            "distribution of the preferred images, because no family draws from a finite set. One "
            "generation: 20,000 preferred images (2,000 with K=1000), binomial error; lineages: 24 "
            "seeds, 2,000 images per generation, Student's t."
        ),
    ),
}
"""Capsules by name: first author and year."""
