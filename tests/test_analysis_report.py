"""The page of analysis report, without a browser."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import HOSTILE, make_hostile, parse
from results_folder import SPEC, node_key, write_folder

from analysis.__main__ import PROGRAM
from analysis.reading.columns import MIXTURE, setting_axes
from analysis.reading.results import load_class_results, load_results
from analysis.reading.shares import load_shares
from analysis.report.findings import Contrast, describe
from analysis.report.lineages import read_tree
from analysis.report.shares import read_shares
from analysis.statistics.paired import estimate_difference, holm
from analysis.tables.build import part_of
from sweep.records import HYPOTHESES, HypothesisPair, HypothesisRecord, load_lineages

ROOT = Path(__file__).parents[1]
COMMITTED = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/sweep.json"))


def run(*args) -> int:
    return PROGRAM.run([str(arg) for arg in args])


def report(folder, *args, path=None):
    path = path or folder.parent / "report.html"
    assert run("report", folder, "--out", path, *args) == 0
    return parse(path)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("report") / "a", classes=(HOSTILE, "b"))
    return report(make_hostile(folder))


def test_report_prints_its_path_and_can_be_written_again(tmp_path, capsys):
    folder, path = write_folder(tmp_path / "a"), tmp_path / "page.html"
    for _ in range(2):
        assert run("report", folder, "--out", path) == 0
        assert capsys.readouterr().out == f"{path}\n"


def test_only_the_pages_own_scripts_are_elements(hostile_page):
    tags = [tag for tag, _ in hostile_page.tags]
    assert tags.count("script") == 4
    assert all(
        name is not None and not name.startswith("on") for _, a in hostile_page.tags for name in a
    )
    assert "img" not in tags
    assert hostile_page.text.count(HOSTILE) >= 3  # shown as text: name, description, command


def test_no_tag_can_begin_in_the_data(hostile_page):
    names = [attrs.get("id") for tag, attrs in hostile_page.tags if tag == "script"]
    text = hostile_page.scripts[names.index("data")]
    assert r"\u003cscript\u003e" in text
    assert not set("<>&") & set(text)
    assert HOSTILE in json.dumps(hostile_page.data)


def test_a_policy_allows_only_the_scripts_that_are_there(hostile_page):
    import base64
    import hashlib

    policy = next(a["content"] for t, a in hostile_page.tags if "Content-Security" in str(a))
    kinds = [attrs.get("type") for tag, attrs in hostile_page.tags if tag == "script"]
    code = [s for s, kind in zip(hostile_page.scripts, kinds, strict=True) if kind is None]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in code]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "default-src 'none'" in policy


def test_nothing_is_loaded_from_elsewhere(hostile_page):
    loading = ("src", "srcset", "href", "data", "action", "poster", "background")
    places = [attrs[name] for _, attrs in hostile_page.tags for name in loading if name in attrs]
    assert all(place.startswith(("#", "data:")) for place in places)
    assert hostile_page.style
    assert not re.search(r"url\(|@import", hostile_page.style)


def test_the_page_names_settings_that_vary_and_those_that_do_not(tmp_path):
    page = report(write_folder(tmp_path / "a"))
    assert "pool.alpha" in page.text
    assert "pool.rule" in page.text


def test_a_setting_may_have_no_value(tmp_path):
    page = report(write_folder(tmp_path / "a", alphas=(None, 1.0), seeds=(0,)))
    assert [axis["values"] for axis in page.data["curves"]["axes"]] == [["1", "-"]]


def test_too_many_settings_are_not_compared_with_each_other(tmp_path):
    alphas = tuple(float(alpha) for alpha in range(1, 22))  # 210 pairs
    page = report(write_folder(tmp_path / "a", alphas=alphas, seeds=(0,), generations=1))
    assert "210 pairs of settings differ in one setting" in page.text


def test_findings_have_their_numbers_and_intervals(tmp_path):
    noise = {0: 0.0, 1: 0.01, 2: -0.01}
    page = report(write_folder(tmp_path / "a", value=lambda a, s, n: a * n * (1 + noise[s])))
    # alpha 2 - alpha .5, V3 - V1: 2 alpha (1 + noise) with standard deviation 2 alpha / 100
    half = 4.302652729911275 * 2 * 0.01 / math.sqrt(3)  # t quantile with 2 degrees of freedom
    assert (
        f"alpha = 1, V3 against V1: higher by 2.000 \u00b1 {half:.3f} (3), which is worse"
        in page.text
    )
    assert "alpha = 1 against alpha = 0.5, at V3: higher by 1.500" in page.text


def test_one_seed_claims_nothing(tmp_path):
    page = report(write_folder(tmp_path / "a", seeds=(0,)))
    assert "says nothing about other seeds" in page.text
    assert not re.search(r": (higher|lower) by", page.text)


@given(
    st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=6), min_size=1, max_size=6),
    st.sampled_from((0.8, 0.95, 0.99)),
    st.sampled_from((-1, 0, 1)),
)
def test_no_sentence_claims_more_than_its_interval(groups, confidence, worse):
    results = [estimate_difference({(i,): x for i, x in enumerate(each)}) for each in groups]
    adjusted = holm([result.p_value() for result in results])
    for result, p in zip(results, adjusted, strict=True):
        finding = describe(
            Contrast("a", result), p, num_looks=len(groups), worse=worse, confidence=confidence
        )
        mean, half = result.mean, result.half_width(confidence)
        claimed = re.search(r"(higher|lower) by", finding.text)
        assert (
            bool(claimed)
            == (finding.strength == "shown")
            == (abs(mean) > half > 0 and p < 1 - confidence)
        )
        if claimed:
            assert claimed[1] == ("higher" if mean > 0 else "lower")
            assert ("worse" in finding.text) == (worse * mean > 0)


def test_class_shares_are_those_of_the_table(tmp_path):
    shares = report(write_folder(tmp_path / "a", classes=("a", "b", "c"))).data["shares"]
    assert shares["classes"] == ["a", "b", "c"]
    (probe,) = shares["probes"]
    assert probe["name"] == "pixels"
    assert len(probe["nodes"]) == 3 * (1 + 2 * 2)  # seeds, and V1 that both alphas share
    assert list(probe["nodes"].values()) == [[0.1667, 0.3333, 0.5]] * 15
    assert report(write_folder(tmp_path / "b")).data["shares"]["classes"] == []


@pytest.mark.slow
def test_class_shares_of_each_sampler_are_its_own():
    """Lineages of different guidance share V_1."""
    folder = ROOT / "experiments" / "conditional"
    found, frame = load_shares([folder]), load_class_results([folder])
    frame = frame[frame["member"] != MIXTURE]
    part = part_of(load_results([folder]), setting_axes(load_results([folder])), 0.95)
    records = {(folder.name, x.id): x for x in load_lineages(folder)}
    tree = read_tree(part, {folder.name: folder}, records, [])
    nodes = read_shares([folder], tree)["probes"][0]["nodes"]
    drawn = sorted(tuple(shares) for shares in nodes.values())
    rows = frame.groupby(["node", "sample.guidance"], dropna=False)[found.columns[0]]
    assert drawn == sorted({tuple(float(f"{x:.4g}") for x in each) for _, each in rows})


@pytest.mark.slow
@pytest.mark.parametrize("run", COMMITTED)
def test_every_committed_run_has_a_report(run, tmp_path):
    """Their axes have missing values, lists, ensembles and diverged lineages."""
    page = report(ROOT / "experiments" / run, path=tmp_path / "page.html")
    assert run in page.text


def test_settings_without_a_value_come_last(tmp_path):
    page = report(write_folder(tmp_path / "a", alphas=(None, 0.5, 1.0)))
    assert "0.5, 1, -" in page.text


def test_a_half_finished_run_is_shown_with_a_note(tmp_path):
    folder = write_folder(tmp_path / "a", pending=((1.0, 0, 2),))
    page = report(folder)
    assert "not finished" in page.text
    assert "lineage alpha-1.0-epochs-40-seed-0: running" in page.text


def test_problems_are_those_of_analysis_check(tmp_path):
    folder = write_folder(tmp_path / "a")
    path = folder / "generations" / node_key(1.0, 40, 0, 2) / "preview.png"
    path.write_bytes(path.read_bytes() + b"more")
    page = report(folder)
    assert "analysis check finds 1 problem." in page.text
    assert "must have SHA-256" in page.text


def test_many_problems_are_counted_and_only_the_first_are_listed(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=tuple(range(12)))
    for path in folder.glob("generations/*/preview.png"):
        path.write_bytes(path.read_bytes() + b"more")
    page = report(folder)
    assert "analysis check finds 60 problems." in page.text  # 12 seeds: V1, and V2, V3 of 2 alphas
    assert page.text.count("must have SHA-256") == 50
    assert "and 10 more" in page.text


def test_samples_that_would_make_the_page_too_large_are_left_out_and_named(tmp_path):
    folder = write_folder(tmp_path / "a")
    whole, small = report(folder), report(folder, "--max-size", "0")
    assert whole.data["previews"]["left"] == ""
    assert len(whole.data["previews"]["nodes"]) == len(whole.data["tree"]["nodes"]) == 15
    assert small.data["previews"]["nodes"] == {}
    way_out = re.search(r"--max-size (\d+) includes all", small.data["previews"]["left"])
    assert way_out is not None
    assert report(folder, "--max-size", way_out[1]).data["previews"] == whole.data["previews"]


def test_a_picture_that_is_no_picture_is_left_out_and_named(tmp_path):
    folder = write_folder(tmp_path / "a")
    path = folder / "generations" / node_key(1.0, 40, 0, 2) / "preview.png"
    path.write_bytes(b"<svg onload=alert(1)>")
    previews = report(folder).data["previews"]
    assert previews["left"] == f"{path} is left out, because it is no PNG file."
    assert len(previews["nodes"]) == 14


def test_hypotheses_have_their_verdicts(tmp_path):
    folder = write_folder(tmp_path / "a", value=lambda alpha, s, n: alpha * n + 0.01 * s * alpha)
    pairs = [
        HypothesisPair(
            seed=s, split_seed=0, arm=node_key(1.0, 40, s, 3), control=node_key(0.5, 40, s, 3)
        )
        for s in range(3)
    ]
    HypothesisRecord(
        name="more-alpha",
        text=HOSTILE,
        metric="kid/pixels",
        spec=SPEC,
        contrast=["pool.alpha=1"],
        against=["pool.alpha=0.5"],
        expected="greater",
        margin=1.0,
        confidence=0.95,
        generation=3,
        pairs=pairs,
        post_hoc=False,
        written="2026-01-01T00:00:00Z",
    ).save(folder / HYPOTHESES / "more-alpha.json")
    page = report(folder)
    assert f"more-alpha: {HOSTILE}" in page.text
    assert "supported: 1.505 \u00b1 0.012 (3)" in page.text


def test_a_model_is_named_by_its_changes_from_the_base(tmp_path):
    """Lineages of equal alpha and epochs share models, but each sampler has its own samples."""
    changes = ((1.0, 40, 20), (2.0, 40, 20), (1.0, 80, 20), (1.0, 40, 5))
    folders = [
        write_folder(
            tmp_path / str(number),
            alphas=(alpha,),
            epochs=(epochs,),
            settings={"sample": {"steps": steps}},
            seeds=(0, 1),
            generations=2,
        )
        for number, (alpha, epochs, steps) in enumerate(changes)
    ]
    path = tmp_path / "report.html"
    assert run("report", *folders, "--out", path) == 0
    names: dict[int, set[str]] = {1: set(), 2: set()}
    for node in parse(path).data["tree"]["nodes"]:
        names[node["generation"]].add(node["name"])
    bases = {"base, seed = 0", "base, seed = 1"}
    assert names == {
        1: {
            *bases,
            *(f"{name}, seed = {s}" for name in ("epochs = 80", "steps = 5") for s in (0, 1)),
        },
        2: {"", "base", "alpha = 2"},
    }


def test_models_that_lineages_share_are_one_node_of_the_tree(tmp_path):
    tree = report(write_folder(tmp_path / "a")).data["tree"]
    roots = [node for node in tree["nodes"] if node["parent"] is None]
    assert [node["name"] for node in roots] == ["seed = 0", "seed = 1", "seed = 2"]
    assert [len(node["lines"]) for node in roots] == [2, 2, 2]
    second = [node["name"] for node in tree["nodes"] if node["generation"] == 2]
    assert second == ["alpha = 0.5"] * 3 + ["alpha = 1"] * 3


def test_numbers_of_different_numbers_of_images_are_not_compared(tmp_path):
    one = write_folder(tmp_path / "a", alphas=(0.5,))
    other = write_folder(tmp_path / "b", alphas=(1.0,), num_generated=30)
    path = tmp_path / "report.html"
    assert run("report", one, other, "--out", path) == 0
    page = parse(path)
    assert "must have the same numbers of generated/reference images" in page.text
    assert not re.search(r": (higher|lower) by", page.text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "DIR must be given at least once"),
        (["{empty}"], "sweep.json must exist"),
        (["{run}", "--metric", "fidd"], "--metric must be one of"),
        (["{run}", "--confidence", "95"], "--confidence must be in (0, 1)"),
        (["{run}", "--max-size", "-1"], "--max-size must be"),
        (["{run}", "--out", "{run}/report.html"], "--out must not be in a results folder"),
        (["{run}", "--out", "{empty}/mine.html"], "--out must be new, or unchanged"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, capsys, args, words):
    write_folder(tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "mine.html").write_text("<!doctype html>mine")
    places = {"run": tmp_path / "run", "empty": tmp_path / "empty"}
    out = [] if "--out" in args else ["--out", tmp_path / "report.html"]
    assert run("report", *[arg.format(**places) for arg in args], *out) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1


def test_a_report_imports_neither_torch_nor_ray(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    code = (
        "import sys\n"
        "from analysis.__main__ import PROGRAM\n"
        "PROGRAM.run(['report', sys.argv[1], '--out', sys.argv[2]])\n"
        "heavy = ('torch', 'ray', 'matplotlib', 'scipy.stats', 'model.config', 'sweep.config')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
