# Shorthands, listed by `uv run just`; CONTRIBUTING.md says what each is for.

list:
    @just --list

setup:
    uv sync --extra all

test *arguments:
    uv run --extra all pytest {{arguments}}

slow:
    uv run --extra all pytest -m "slow and not gpu and not network" --timeout 1800

fix:
    uv run ruff check --fix && uv run ruff format

check:
    uv run prek run --all-files

docs:
    uv run cog -r docs/cli.md EXPERIMENTS.md

ci:
    bash .ci/run
