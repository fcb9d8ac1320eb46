"""Curves and image grids."""

import re
import typing

import matplotlib
import numpy as np
import pytest
from figure_requests import figure_request
from matplotlib.image import imread
from results_folder import IMAGE_SIZE, encode_preview, flat_tiles, node_key, write_folder

from analysis.__main__ import Figure
from analysis.escapes import file_stems
from analysis.figures.drawing.style import styled
from analysis.figures.drawing.text import fit_text
from analysis.figures.drawing.tiles import fit_layout, lay_out, row_columns
from analysis.figures.grids import read_tiles
from analysis.figures.kinds import ALL, FIGURES, draw_figures
from analysis.widths import COLUMN, PAGE

ROWS = fit_layout(IMAGE_SIZE, width=COLUMN, rows=1, columns=row_columns(COLUMN), num_lines=1)
"""Layout of the figures of settings, whose titles have one line."""


def draw(tmp_path, folder, kind, *, metrics=("kid/pixels",), image_format="png", seed=None):
    """Draw one kind and return the paths' names and the notes."""
    notes = []
    request = figure_request(
        [folder],
        tmp_path / "figures",
        metrics=metrics,
        image_format=image_format,
        seed=seed,
        note=notes.append,
    )
    paths = draw_figures(request, [kind])
    assert all(path.stat().st_size for path in paths)
    return [path.name for path in paths], notes


def shade(path, block: int, tile: int, *, dy: int = 0, dx: int = 0) -> int:
    """Return the 8-bit shade at (dy, dx) from the corner of a tile of a block in a PNG."""
    y, x = ROWS.corner(block, tile)
    return round(255 * imread(path)[y + dy, x + dx, 0])


def test_the_help_names_every_kind():
    kinds = typing.get_args(typing.get_type_hints(Figure)["kind"])
    assert kinds == (*FIGURES, "all")
    assert set(ALL) < set(FIGURES)


def test_curves_are_one_file_for_each_metric(tmp_path):
    folder = write_folder(tmp_path / "a", epochs=(40, 80), diverged=((1.0, 0, 2),))
    names, notes = draw(tmp_path, folder, "curves", metrics=["kid/pixels", "final_loss"])
    assert names == ["curves-kid-pixels.png", "curves-final-loss.png"]
    assert notes == []


@pytest.mark.slow
def test_a_third_setting_makes_a_file_for_each_of_its_values(tmp_path):
    first = write_folder(tmp_path / "a", epochs=(40, 80), settings={"sample": {"steps": 5}})
    second = write_folder(tmp_path / "b", epochs=(40, 80), settings={"sample": {"steps": 20}})
    request = figure_request([first, second], tmp_path)
    names = [path.name for path in draw_figures(request, ["curves"])]
    assert names == ["curves-kid-pixels-steps-5.png", "curves-kid-pixels-steps-20.png"]


def test_curves_name_the_metric_its_numbers_and_the_seeds(tmp_path):
    folder = write_folder(tmp_path / "a", epochs=(40, 80), diverged=((1.0, 0, 2),))
    draw(tmp_path, folder, "curves", image_format="svg")
    svg = (tmp_path / "figures" / "curves-kid-pixels.svg").read_text()
    text = " ".join(re.findall(r">([^<>]+)</t", svg))
    for words in ("KID (pixels)", "N = 20 generated, 20 reference", "seeds 0, 1, 2", "diverged"):
        assert words in text


def test_curves_of_one_seed_speak_of_no_interval(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=(0,))
    draw(tmp_path, folder, "curves", image_format="svg")
    assert "interval" not in (tmp_path / "figures" / "curves-kid-pixels.svg").read_text()


@pytest.mark.slow
def test_more_than_seven_alphas_still_have_a_colour_each(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=tuple(range(1, 10)), seeds=(0,), generations=2)
    names, _ = draw(tmp_path, folder, "curves")
    assert len(names) == 1


def test_a_metric_without_values_is_an_error(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), pending=((1.0, 0, 1),))
    with pytest.raises(ValueError, match="final_loss must have a value to be drawn, got none"):
        draw(tmp_path, folder, "curves", metrics=["final_loss"])


def test_no_metric_yet_is_a_note(tmp_path):
    _, notes = draw(tmp_path, write_folder(tmp_path / "a"), "curves", metrics=[])
    assert notes == ["no curves, because no generation has been measured yet"]


def test_grids_are_the_real_images_v1_and_a_figure_of_each_setting(tmp_path):
    names, _ = draw(tmp_path, write_folder(tmp_path / "a"), "grids")
    assert names == ["grid-real.png", "grid-v1.png", "grid-alpha-0.5.png", "grid-alpha-1.png"]


def test_each_training_setting_has_its_own_v1(tmp_path):
    folder = write_folder(tmp_path / "a", epochs=(40, 80), alphas=(1.0,))
    names, _ = draw(tmp_path, folder, "grids")
    assert names[1:3] == ["grid-v1-epochs-40.png", "grid-v1-epochs-80.png"]


@pytest.mark.parametrize("tile", [0, 1, 7])
@pytest.mark.parametrize("block", [0, 1, 2, 3, 4])
def test_a_tile_of_the_preview_is_where_it_should_be(tmp_path, block, tile):
    """Tile i of V_n has the shade 3 i + n; rows are real images (n = 0) and V_1 to V_4."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=4)
    draw(tmp_path, folder, "grids")
    path = tmp_path / "figures" / "grid-alpha-1.png"
    ends = (0, ROWS.side - 1)
    corners = [shade(path, block, tile, dy=y, dx=x) for y in ends for x in ends]
    assert corners == [3 * tile + block] * 4


def test_tiles_are_set_apart_by_white(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    draw(tmp_path, folder, "grids")
    path = tmp_path / "figures" / "grid-alpha-1.png"
    for last in range(ROWS.gap):
        place = ROWS.side + last
        assert [shade(path, 0, 0, dx=place), shade(path, 0, 0, dy=place)] == [255, 255]


def test_the_name_of_a_file_has_an_end():
    """File systems allow 255 bytes; names that differ beyond that stay apart."""
    members = [[*["model.family=gaussian"] * 20, last] for last in ("share=1", "share=2")]
    one, other, short = file_stems(
        [*(["grid", f"members-{texts}"] for texts in members), ["grid", "alpha-1"]]
    )
    assert one != other
    assert max(len(one), len(other)) == 240
    assert short == "grid-alpha-1"


def test_a_diverged_generation_keeps_its_place(tmp_path):
    """V_3 was never computed, so that its block holds a word on white."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), diverged=((1.0, 0, 2),))
    draw(tmp_path, folder, "grids")
    assert shade(tmp_path / "figures" / "grid-alpha-1.png", 3, 0) == 255


def test_the_lowest_seed_is_shown_unless_another_is_named(tmp_path):
    def tiles(generation, alpha, seed):
        return np.full_like(flat_tiles(generation, alpha, seed), 10 * seed)

    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(3, 7), tiles=tiles)
    draw(tmp_path, folder, "grids")
    assert shade(tmp_path / "figures" / "grid-alpha-1.png", 1, 0) == 30
    draw(tmp_path, folder, "grids", seed=7)
    assert shade(tmp_path / "figures" / "grid-alpha-1.png", 1, 0) == 70


def test_a_seed_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="--seed must be one of 0, 1, 2, got 9"):
        draw(tmp_path, write_folder(tmp_path / "a"), "grids", seed=9)


def test_previews_that_were_not_copied_are_notes(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    for path in folder.rglob("preview.png"):
        path.unlink()
    names, notes = draw(tmp_path, folder, "grids")
    assert names == []
    assert len(notes) == 3


def test_a_preview_of_another_size_is_an_error(tmp_path):
    path = tmp_path / "preview.png"
    path.write_bytes(encode_preview(flat_tiles(1, 1.0, 0)))
    with pytest.raises(ValueError, match=r"multiples of data.image_size=7, got 64 x 64"):
        read_tiles(path, 7)


def test_a_damaged_preview_is_an_error_that_names_it(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    path = folder / "generations" / node_key(1.0, 40, 0, 2) / "preview.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=f"{path} must be an intact PNG file"):
        draw(tmp_path, folder, "grids")


def test_colour_tiles_keep_their_pixels(tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (64, 5, 5, 3), dtype=np.uint8)
    path = tmp_path / "preview.png"
    path.write_bytes(encode_preview(tiles))
    assert np.array_equal(read_tiles(path, 5), tiles)


@pytest.mark.parametrize("size", [8, 28, 64, 100, 256])
@pytest.mark.parametrize("width", [2.0, COLUMN, 5.123, PAGE])
def test_images_are_whole_multiples_of_their_size_and_fill_the_width(size, width):
    """At 200 pixels per inch or more; at most a pixel per column is lost to rounding."""
    columns = row_columns(width)
    layout = fit_layout(size, width=width, rows=1, columns=columns, num_lines=1)
    assert layout.side % size == 0
    assert layout.dpi >= 200
    right = layout.left + layout.block_width
    assert width * layout.dpi - 0.05 * layout.dpi <= right <= width * layout.dpi
    assert 0.25 <= layout.left / layout.dpi <= 0.4


def test_fewer_images_than_places_leave_white():
    canvas = lay_out(np.zeros((1, 8, 8, 3), dtype=np.uint8), ROWS)
    assert canvas[0, 0].tolist() == [0, 0, 0]
    assert canvas[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(tmp_path, image_format):
    folder = write_folder(tmp_path / "a", seeds=(0,))
    contents = []
    for place in ("x", "y"):
        (name,), _ = draw(tmp_path / place, folder, "curves", image_format=image_format)
        contents.append((tmp_path / place / "figures" / name).read_bytes())
    assert contents[0] == contents[1]


def test_the_style_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    with styled():
        assert matplotlib.rcParams["font.size"] == 8
    assert dict(matplotlib.rcParams) == before


def test_an_empty_text_fits_anywhere():
    """A panel of the base, which is named by its changes, has no words."""
    assert fit_text("", 1.0) == ""
