"""Draw the figures of EXPERIMENTS.md from the committed records.

    uv run python benchmarks/figures.py

Figures that are shown beside each other have the width of a column, the others that of a page.
"""

import tempfile
from pathlib import Path

from analysis.__main__ import PROGRAM
from sweep.files import write_bytes

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
FIGURES = EXPERIMENTS / "figures"
EXTRACTOR = "efficientnet-lite0-64"
DIGITS = ("paper-digits-seed0", "paper-digits-seed1", "paper-digits-seed2")
UNET2D = (
    "grid-v1-block-depth-1-family-unet2d-widths-16-32-ema-decay-0.99-lr-0.004-"
    "lr-schedule-cosine-steps-1400"
)
CURVES = {
    "budget-curves-kid": ("budget", "kid", "", "page"),
    "concentration-curves-kid": ("concentration", "kid", "-member-0", "page"),
    "ensemble-curves-kid": ("ensemble", "kid", "-member-0", "page"),
    "filters-curves-kid": ("filters", "kid", "-member-0", "page"),
    "filters-curves-recall": ("filters", "recall", "-member-0", "page"),
    "grid-digits-curves-recall": ("grid-digits", "recall", "-concentration-0-member-0", "column"),
    "grid-digits-curves-recall-concentrated": (
        *("grid-digits", "recall", "-concentration-0.5-member-0", "column"),
    ),
    "mechanism-curves-kid": ("mechanism", "kid", "", "page"),
    "rules-curves-kid": ("rules", "kid", "", "page"),
    f"curves-kid-{EXTRACTOR}": ("paper-digits", "kid", "", "page"),
}
"""File in experiments/figures -> run, metric, end of the name of the drawn file, width."""
GRIDS = {
    "budget-grid-steps": ("budget", "grid-scaling-steps"),
    "concentration-grid-1": ("concentration", "grid-concentration-1"),
    "conditional-v1-ddim": ("conditional", "grid-v1"),
    "conditional-v1-edm": ("conditional", "grid-v1-family-edm"),
    "conditional-v1-vae": ("conditional", "grid-v1-family-vae-lr-0.001"),
    "ensemble-grid-3-long": ("ensemble", "grid-size-3-steps-1800-member-0"),
    "ensemble-grid-3-short": ("ensemble", "grid-size-3-steps-600-member-0"),
    **{
        f"families-v1-{family}": ("families", f"grid-v1-family-{family}")
        for family in ("ddim", "edm", "flow", "gaussian")
    },
    "families-v1-unet2d": ("families", UNET2D),
    "families-v1-vae": ("families", "grid-v1-family-vae-steps-1500"),
    "filters-confidence": ("filters", "grid-candidates-4-name-confidence"),
    "filters-farthest-point": ("filters", "grid-candidates-4-name-farthest-point"),
    "grid-digits-alpha-2": ("grid-digits", "grid-alpha-2-epochs-20-concentration-0"),
    "grid-digits-alpha-2-concentrated": (
        *("grid-digits", "grid-alpha-2-epochs-20-concentration-0.5"),
    ),
    "mechanism-grid-ema-copy": ("mechanism", "grid-ema-init-copy"),
    "mechanism-grid-steps-5": ("mechanism", "grid-sample.steps-5"),
    "rules-grid-replace": ("rules", "grid-alpha-rule-replace"),
    **{
        name: ("paper-digits", name)
        for name in (
            *("grid-real", "grid-v1-epochs-40", "grid-v1-alpha-1-epochs-80"),
            *(f"grid-alpha-{alpha}-epochs-40" for alpha in ("0.5", "1", "2")),
            "grid-alpha-1-epochs-80",
        )
    },
}
"""File in experiments/figures -> run, name of the drawn file."""


KINDS = {
    "concentration-shares": ("concentration", "shares", f"shares-{EXTRACTOR}-member-0"),
    "paper-digits-real-share": ("paper-digits", "real-share", f"real-share-kid-{EXTRACTOR}"),
    "rules-real-share": ("rules", "real-share", f"real-share-kid-{EXTRACTOR}"),
    "rules-tree": ("rules", "trees", f"trees-kid-{EXTRACTOR}-seed-0"),
}
"""File in experiments/figures -> run, kind, name of the drawn file."""

WHY = ("--where", "rule=grow", "conditional=false", "--width", "page")
MNIST = ("--where", "rule=grow", "--width", "page")
FORECAST = ("--forecast", str(EXPERIMENTS / "why-forecast.json"))
MNIST_FORECAST = ("--forecast", str(EXPERIMENTS / "why-mnist-forecast.json"))
START_FORECAST = ("--forecast", str(EXPERIMENTS / "why-start-forecast.json"))
OF_WHY = {
    "why-gain": ("why", ("--kind", "gain", *FORECAST, *WHY), "gain-steps-20"),
    "why-gain-finer": ("why", ("--kind", "gain", *FORECAST, *WHY), "gain-steps-100"),
    "why-paths": (
        "why",
        ("--kind", "paths", "--metric", "pixel_std", f"kid/{EXTRACTOR}", *WHY),
        f"paths-pixel-std-kid-{EXTRACTOR}-steps-20",
    ),
    "why-mnist-gain": (
        "why-mnist",
        ("--kind", "gain", *MNIST_FORECAST, *MNIST),
        "gain-steps-20",
    ),
    "why-mnist-gain-finer": (
        "why-mnist",
        ("--kind", "gain", *MNIST_FORECAST, *MNIST),
        "gain-steps-100",
    ),
    "why-start-gain": (
        "why-start",
        ("--kind", "gain", *START_FORECAST, "--width", "page"),
        "gain-steps-100",
    ),
}
"""File in experiments/figures -> run, options, and name of the drawn file."""
WHY_LEDGER = "why-ledger"
LEDGER = (
    *("ledger", str(EXPERIMENTS / "why"), "--where", "rule=grow", "steps=20", *FORECAST),
    *("--step", "fit:family=exact-gaussian", "--step", "network:family=ddim"),
    *("--figure", str(FIGURES / f"{WHY_LEDGER}.png")),
)


def draw(run: str, out: Path, *words: str) -> None:
    """Run `analysis figure` on a run."""
    dirs = DIGITS if run == "paper-digits" else (run,)
    code = PROGRAM.run(
        ["figure", *(str(EXPERIMENTS / name) for name in dirs), "--out", str(out), *words]
    )
    assert code == 0, f"analysis figure of {run} ended with exit code {code}"


def main() -> None:
    """Draw and copy."""
    with tempfile.TemporaryDirectory() as name:
        for figure, (run, metric, end, width) in CURVES.items():
            out = Path(name) / figure
            draw(run, out, "--kind", "curves", "--metric", metric, "--width", width)
            drawn = out / f"curves-{metric}-{EXTRACTOR}{end}.png"
            write_bytes(FIGURES / f"{figure}.png", drawn.read_bytes())
        for figure, (run, kind, stem) in KINDS.items():
            draw(run, Path(name) / figure, "--kind", kind)
            drawn = Path(name) / figure / f"{stem}.png"
            write_bytes(FIGURES / f"{figure}.png", drawn.read_bytes())
        for figure, (run, words, stem) in OF_WHY.items():
            draw(run, Path(name) / figure, *words)
            drawn = Path(name) / figure / f"{stem}.png"
            write_bytes(FIGURES / f"{figure}.png", drawn.read_bytes())
        assert PROGRAM.run(LEDGER) == 0
        for run in dict.fromkeys(run for run, _ in GRIDS.values()):
            draw(run, Path(name) / run, "--kind", "grids")
        for figure, (run, stem) in GRIDS.items():
            drawn = Path(name) / run / f"{stem}.png"
            write_bytes(FIGURES / f"{figure}.png", drawn.read_bytes())


if __name__ == "__main__":
    main()
