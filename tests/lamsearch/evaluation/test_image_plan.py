"""Properties of the image plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.errors import PromptError
from lamsearch.evaluation.image_plan import image_plan, plan_hash

PROMPT_LISTS = st.lists(st.text(min_size=1), min_size=1, max_size=12, unique=True)
SEEDS = st.integers(0, 2**70)
PINNED = [
    ("b", 8780781142416109512),
    ("a", 8042063126502834088),
    ("é", 1712993647543007461),
    ("b", 5766609168368565648),
]
PINNED_HASH = "f4d4ff4919e9b547f93fc55043d4dd2b739d7be133f9862b0e67796552cb936d"


@given(PROMPT_LISTS, st.integers(1, 40), st.integers(0, 40), SEEDS)
def test_a_plan_is_a_prefix_of_every_longer_plan(prompts, images, more, seed):
    plan = image_plan(prompts, images, seed)
    assert image_plan(prompts, images + more, seed)[:images] == plan
    assert [image.image_id for image in plan] == list(range(images))


@given(PROMPT_LISTS, st.integers(1, 4), SEEDS)
def test_every_prompt_is_used_before_any_is_repeated(prompts, rounds, seed):
    plan = image_plan(prompts, rounds * len(prompts), seed)
    for start in range(0, len(plan), len(prompts)):
        cycle = [image.prompt for image in plan[start : start + len(prompts)]]
        assert sorted(cycle) == sorted(prompts)


@given(PROMPT_LISTS, st.integers(1, 40), SEEDS)
def test_image_seeds_differ_and_suit_a_generator(prompts, images, seed):
    seeds = [image.seed for image in image_plan(prompts, images, seed)]
    assert len(set(seeds)) == images
    assert all(0 <= value < 2**63 for value in seeds)


@given(PROMPT_LISTS, SEEDS, SEEDS)
def test_another_seed_is_another_plan(prompts, seed, other):
    seeds = {image.seed for image in image_plan(prompts, 8, seed)}
    others = {image.seed for image in image_plan(prompts, 8, other)}
    assert seeds == others if seed == other else not seeds & others


def test_the_order_is_shuffled_by_the_seed():
    prompts = [str(number) for number in range(50)]
    orders = {tuple(image.prompt for image in image_plan(prompts, 50, seed)) for seed in range(9)}
    assert len(orders) == 9
    assert tuple(prompts) not in orders


def test_image_seeds_are_uniform():
    """A mean of n uniform draws has standard error 0.289 / √n."""
    seeds = [image.seed / 2**63 for image in image_plan(["a"], 10_000, 0)]
    assert abs(sum(seeds) / len(seeds) - 0.5) < 4 * 0.289 / 100
    odd = sum(image.seed & 1 for image in image_plan(["a"], 10_000, 1))
    assert abs(odd - 5000) < 4 * 50


def test_a_plan_never_changes_between_versions():
    """Studies on disk depend on these very numbers."""
    plan = image_plan(["a", "b", "é"], 4, 7)
    assert [(image.prompt, image.seed) for image in plan] == PINNED
    assert plan_hash(plan) == PINNED_HASH


@given(PROMPT_LISTS, st.integers(1, 10), SEEDS)
def test_the_hash_tells_plans_apart(prompts, images, seed):
    plan = image_plan(prompts, images, seed)
    assert plan_hash(plan) == plan_hash(list(plan))
    assert plan_hash(plan) != plan_hash(image_plan(prompts, images + 1, seed))
    assert plan_hash(plan) != plan_hash(image_plan(prompts, images, seed + 1))
    assert plan_hash(plan) != plan_hash(image_plan([*prompts[:-1], prompts[-1] + "!"], 12, seed))


def test_nothing_to_plan_is_refused():
    with pytest.raises(PromptError, match="no prompts given"):
        image_plan([], 4, 0)
    with pytest.raises(PromptError, match="0 images requested, expected at least 1"):
        image_plan(["a"], 0, 0)
