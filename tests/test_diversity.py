"""Facts of the Vendi score, which has closed forms for alike and for orthogonal images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics.distribution import vendi_score


@pytest.mark.parametrize("num_kinds", [1, 2, 5, 8])
def test_orthogonal_images_are_counted(num_kinds):
    np.testing.assert_allclose(vendi_score(3 * np.eye(8)[:num_kinds]), num_kinds, rtol=1e-12)


@pytest.mark.parametrize("num_images", [2, 5, 50])
def test_equal_images_count_once(num_images):
    features = np.full((num_images, 6), [1.0, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(vendi_score(features), 1, rtol=1e-12)


@pytest.mark.parametrize("repeats", [2, 40])
def test_equal_numbers_of_each_kind_count_the_kinds(repeats):
    """Repeats of the kinds leave the score as it is, with fewer images than features or more."""
    np.testing.assert_allclose(vendi_score(np.repeat(np.eye(5), repeats, axis=0)), 5, rtol=1e-12)


def test_unequal_kinds_have_the_exponential_of_their_entropy():
    """Shares 3/4 and 1/4: exp(H) = (4/3)^(3/4) 4^(1/4)."""
    features = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    np.testing.assert_allclose(vendi_score(features), (4 / 3) ** 0.75 * 4**0.25, rtol=1e-12)


def test_two_images_at_an_angle():
    """Cosine c has eigenvalues (1 + c) / 2 and (1 - c) / 2; here c = 0.6."""
    features = np.array([[1.0, 0, 0], [0.6, 0.8, 0]])
    np.testing.assert_allclose(vendi_score(features), 0.8**-0.8 * 0.2**-0.2, rtol=1e-12)


def test_lengths_do_not_matter():
    """Nor do lengths whose squares overflow or vanish in float64."""
    features = np.random.default_rng(0).normal(size=(6, 4))
    lengths = np.array([1e-200, 1e-3, 1, 10, 1e3, 1e200])[:, None]
    np.testing.assert_allclose(vendi_score(features * lengths), vendi_score(features), rtol=1e-12)


def test_rows_of_zeros_are_one_kind():
    """Black images under extractor pixels: half black, half white are two kinds."""
    assert vendi_score(np.array([[0.0, 0], [0, 0], [1, 1], [1, 1]])) == pytest.approx(2, rel=1e-12)


@given(st.permutations(range(12)))
def test_the_order_of_images_does_not_matter(rows):
    features = np.random.default_rng(0).normal(size=(12, 5))
    np.testing.assert_allclose(vendi_score(features[rows]), vendi_score(features), rtol=1e-12)


def test_both_eigenvalue_problems_agree():
    """Features of zeros added until there are more of them than images."""
    features = np.random.default_rng(0).normal(size=(12, 5))
    wide = np.concatenate([features, np.zeros((12, 30))], axis=1)
    np.testing.assert_allclose(vendi_score(wide), vendi_score(features), rtol=1e-12)
