import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.search.agents.wall import Wall


@st.composite
def projections(draw):
    """Some groups of any size and step under one or two limits that are quadratic in them."""
    groups = draw(st.integers(1, 5))
    numbers = st.lists(st.integers(1, 40), min_size=groups, max_size=groups)
    sizes = np.array(draw(numbers))
    steps = np.array(draw(st.lists(st.sampled_from([1, 3, 8]), min_size=groups, max_size=groups)))
    limits = []
    for number in range(draw(st.integers(1, 2))):
        weights = np.array(draw(numbers), float)
        price = _price(weights)
        least, most = price(np.ones(groups)), price(sizes)
        share = draw(st.floats(0, 1))
        limits.append(Limit(f"limit_{number}", price, least + share * (most - least)))
    lowest = Projection(sizes, steps, (), 0.01).lowest
    limits = [Limit(li.name, li.cost, max(li.value, float(li.cost(lowest)))) for li in limits]
    return Projection(sizes, steps, tuple(limits), 0.01)


def _price(weights):
    def price(counts):
        counts = np.asarray(counts, float)
        return counts @ weights + (counts[..., 1:] * counts[..., :-1]).sum(-1) + 5

    return price


def wider(projection, counts, group):
    """The plan with the next width of one group, if it has one."""
    size, step = projection.sizes[group], projection.steps[group]
    after = np.array(counts)
    after[group] = min(after[group] // step * step + step, size)
    return after if after[group] > counts[group] else None


ratios = st.lists(st.floats(0, 1), min_size=5, max_size=5)


@given(projections(), ratios)
def test_plans_are_never_over_and_never_far_under_the_budget(projection, ratios):
    wall, counts = Wall(projection), []
    for group, size in enumerate(projection.sizes):
        least, most = wall.bounds(counts)
        assert projection.lowest[group] <= least <= most <= size
        rest = [list(side[group + 1 :]) for side in (projection.lowest, projection.sizes)]
        assert projection.fits(np.array([*counts, most, *rest[0]]))
        after = wider(projection, [*counts, most, *rest[0]], group)
        assert after is None or not projection.fits(after)
        after = wider(projection, [*counts, least, *rest[1]], group)
        assert after is None or not projection.fits(after)
        counts.append(wall.count(counts, ratios[group]))
        assert least <= counts[-1] <= most
    assert projection.fits(np.array(counts))
    further = [wider(projection, counts, group) for group in range(len(counts))]
    possible = [plan for plan in further if plan is not None]
    assert not possible or any(not projection.fits(plan) for plan in possible)


@given(projections(), ratios)
def test_without_bounds_the_nearest_width_is_taken(projection, ratios):
    wall, counts = Wall(projection, bounded=False), []
    for size, step, ratio in zip(projection.sizes, projection.steps, ratios, strict=False):
        counts.append(wall.count(counts, ratio))
        assert abs(counts[-1] - ratio * size) <= step


@given(projections(), ratios)
def test_shares_add_up(projection, ratios):
    wall, counts = Wall(projection), []
    for ratio in ratios[: len(projection.sizes)]:
        reduced, rest, gap = wall.shares(counts)
        assert min(reduced, rest, gap) >= -1e-6
        assert reduced + rest <= 1 + 1e-6
        counts.append(wall.count(counts, ratio))
        now = wall.shares(counts)
        assert now[0] >= reduced - 1e-6 and now[1] <= rest + 1e-6 and now[2] <= gap + 1e-6
    assert abs(wall.shares(counts)[1]) < 1e-6
