"""A rotating plan shows every λ as many images, and any two of them enough in common."""

import itertools

import pytest

from lamsearch.evaluation.block_design import BLOCKS, COMMON, BlockDesign


@pytest.mark.parametrize("images", [1, 2, 8, 9, 10, 16, 64, 65, 66, 500])
@pytest.mark.parametrize("plan", ["fixed", "rotating"])
def test_every_evaluation_sees_as_many_images_of_the_plan(images, plan):
    design = BlockDesign(images, plan)
    for number in range(20):
        ids = design.image_ids(number)
        assert len(set(ids)) == len(ids) == images
        assert list(ids) == sorted(ids)
        assert set(range(min(COMMON, images))) <= set(ids) <= set(range(design.total))


@pytest.mark.parametrize("images", [16, 64, 100])
def test_any_two_evaluations_share_a_third_and_all_images_are_used_often(images):
    design = BlockDesign(images, "rotating")
    seen = [set(design.image_ids(number)) for number in range(BLOCKS)]
    for a, b in itertools.combinations(seen, 2):
        assert len(a & b) >= images / 3 - 2
    assert set.union(*seen) == set(range(design.total))
    counts = [sum(image in each for each in seen) for image in range(design.total)]
    assert min(counts) >= 2
    assert 2 < design.total / images < 2.7


def test_evaluations_a_round_apart_see_the_same():
    design = BlockDesign(64, "rotating")
    assert design.image_ids(2) == design.image_ids(2 + BLOCKS)


def test_a_fixed_plan_shows_all_its_images():
    assert list(BlockDesign(5, "fixed").image_ids(3)) == [0, 1, 2, 3, 4]
    assert BlockDesign(64).total == 64
