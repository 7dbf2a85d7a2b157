"""Geometry, grids, sampling and decompositions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdesolve.domains import (
    Box,
    Cuboid,
    Decomposition,
    GradedSampler,
    Interval,
    OverlappingDecomposition,
    Patch,
    Rectangle,
    SobolSampler,
    StructuredGrid,
    TimeInterval,
    UniformSampler,
    cartesian_decomposition,
    face_points,
    sample_nodes,
)

SPACE_TIME = Interval(-1, 1) * TimeInterval(0, 2)
CUBOID = Cuboid((0, 1), (0, 2), (-1, 1)) * TimeInterval(0, 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# geometry


def test_product_orders_axes_and_keeps_their_bounds():
    assert SPACE_TIME.axes == ("t", "x")
    assert TimeInterval(0, 2) * Interval(-1, 1) == SPACE_TIME
    assert SPACE_TIME.bounds("x") == (-1.0, 1.0)
    assert SPACE_TIME.extent("t") == 2.0
    assert SPACE_TIME.space_axes == ("x",)
    assert SPACE_TIME.has_time
    assert not Rectangle((0, 1), (0, 1)).has_time
    assert Interval(0, 1, axis="y") * Interval(2, 3) == Rectangle((2, 3), (0, 1))


def test_boundaries_have_names_sides_and_positions():
    assert CUBOID.boundary_names == ("left", "right", "bottom", "top", "back", "front")
    top = CUBOID.boundary("top")
    assert (top.axis, top.side, top.position) == ("y", 1, 2.0)
    back = CUBOID.boundary("back")
    assert (back.axis, back.side, back.position) == ("z", -1, -1.0)
    assert CUBOID.boundary("initial").position == 0.0


def test_split_tiles_the_box():
    parts = SPACE_TIME.split("x", [-0.5, 0.25])
    assert [part.bounds("x") for part in parts] == [(-1.0, -0.5), (-0.5, 0.25), (0.25, 1.0)]
    assert all(part.bounds("t") == (0.0, 2.0) for part in parts)


def test_contains_is_closed_and_false_at_nan():
    x = torch.tensor([-1.0, 1.0, 1.1, math.nan])
    assert SPACE_TIME.contains({"x": x, "t": torch.tensor(2.0)}).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Interval(1, 1), ValueError, "lower < upper"),
        (lambda: Interval(0, math.nan), ValueError, "finite"),
        (lambda: Interval(0, "1"), TypeError, "real number"),
        (lambda: Interval(False, 1), TypeError, "real number"),
        (lambda: Interval(0, 1, axis="w"), ValueError, "unknown axis 'w'"),
        (lambda: Box(("x", "t"), (0, 0), (1, 1)), ValueError, "in the order"),
        (lambda: Box(("x", "x"), (0, 0), (1, 1)), ValueError, "each once"),
        (lambda: Box(("x",), (0, 0), (1,)), ValueError, "one lower and one upper"),
        (lambda: Interval(0, 1) * Interval(0, 1), ValueError, "both boxes have axis 'x'"),
        (lambda: Interval(0, 1).boundary("lef"), ValueError, "did you mean 'left'"),
        (lambda: Interval(0, 1).bounds("y"), ValueError, "no axis 'y'"),
        (lambda: Interval(0, 1).split("x", [0.5, 0.5]), ValueError, "rise strictly inside"),
        (lambda: Interval(0, 1).split("x", [1.0]), ValueError, "rise strictly inside"),
        (lambda: Rectangle((0, 1), (0, 1, 2)), ValueError, "a pair"),
        (lambda: SPACE_TIME.contains({"x": torch.zeros(1)}), ValueError, "'t' are missing"),
    ],
)
def test_geometry_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


# grids


def test_uniform_grid_includes_the_ends():
    grid = StructuredGrid.uniform(SPACE_TIME, (5, 9))
    assert grid.shape == (5, 9)
    assert grid.n_nodes == 45
    assert grid.box == SPACE_TIME
    assert grid.is_uniform("t")
    torch.testing.assert_close(grid.axis_nodes("x"), torch.linspace(-1, 1, 9, dtype=torch.float64))
    coordinates = grid.coordinates()
    assert coordinates["x"].shape == (5, 9)
    assert bool((coordinates["t"][3] == grid.axis_nodes("t")[3]).all())


def test_cell_centred_grid_has_centres_in_space_and_both_ends_in_time():
    grid = StructuredGrid.cell_centred(SPACE_TIME, (3, 4))
    assert grid.axis_nodes("x").tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert grid.axis_nodes("t").tolist() == [0.0, 1.0, 2.0]
    assert grid.box == SPACE_TIME


@pytest.mark.parametrize("strength", [0.5, 2.0, 8.0])
def test_graded_grid_crowds_towards_the_named_boundaries_only(strength):
    grid = StructuredGrid.graded(SPACE_TIME, (101, 2001), {"left": strength, "right": strength})
    spacing = grid.axis_nodes("x").diff()
    assert (grid.axis_nodes("x")[0], grid.axis_nodes("x")[-1]) == (-1.0, 1.0)
    torch.testing.assert_close(spacing, spacing.flip(0), rtol=1e-6, atol=1e-12)
    if strength < 8:  # there one spacing is no derivative any more
        assert float(spacing.max() / spacing[0]) == pytest.approx(math.cosh(strength) ** 2, rel=0.02)
    assert grid.is_uniform("t")
    assert not grid.is_uniform("x")


def test_one_sided_grading_puts_the_smallest_spacing_at_its_boundary():
    grid = StructuredGrid.graded(SPACE_TIME, (33, 33), {"initial": 2.0, "right": 1.0})
    assert bool((grid.axis_nodes("t").diff().diff() > 0).all())
    assert bool((grid.axis_nodes("x").diff().diff() < 0).all())


def test_uniformity_is_judged_up_to_rounding():
    box = Interval(1e6, 1e6 + 1)
    assert StructuredGrid.uniform(box, (1001,)).is_uniform("x")
    nodes = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert not StructuredGrid(("x",), (nodes + 1e-6 * nodes**2,)).is_uniform("x")


def test_boundary_mask_marks_the_outermost_layer():
    grid = StructuredGrid.uniform(SPACE_TIME, (3, 4))
    assert grid.boundary_mask("right").nonzero().tolist() == [[0, 3], [1, 3], [2, 3]]
    assert grid.boundary_mask("initial").sum() == 4


def test_grid_of_given_nodes_is_a_copy():
    nodes = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
    grid = StructuredGrid(("x",), (nodes,))
    nodes[1] = 7.0
    assert grid.box == Interval(0, 1)
    assert grid.axis_nodes("x").tolist() == [0.0, 0.1, 1.0]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StructuredGrid(("x",), (f64(0, 1, 1),)), ValueError, "entries 1, 2 are 1.0, 1.0"),
        (lambda: StructuredGrid(("x",), (f64(0, math.inf),)), ValueError, "entry 1 is inf"),
        (lambda: StructuredGrid(("x",), (f64(0),)), ValueError, "at least 2"),
        (lambda: StructuredGrid(("x",), (torch.arange(3),)), TypeError, "float64"),
        (lambda: StructuredGrid(("x",), ([0.0, 1.0],)), TypeError, "float64 tensor, got list"),
        (lambda: StructuredGrid(("x",), (f64(0, 1).requires_grad_(),)), ValueError, "detach"),
        (lambda: StructuredGrid(("t",), (f64(0, 1),)), ValueError, "axis in space"),
        (lambda: StructuredGrid(("x", "y"), (f64(0, 1),)), ValueError, "one tensor of nodes per axis"),
        (lambda: StructuredGrid(("x",), (f64(0, 2),), Interval(0, 1)), ValueError, "outside of"),
        (lambda: StructuredGrid(("x",), (f64(0, 1),), SPACE_TIME), ValueError, "must be the same"),
        (lambda: StructuredGrid.uniform(SPACE_TIME, (4,)), ValueError, "one number for each"),
        (lambda: StructuredGrid.uniform(SPACE_TIME, (4, 1)), ValueError, "at least 2 nodes"),
        (lambda: StructuredGrid.uniform(SPACE_TIME, (4, 2.0)), TypeError, "must be an integer"),
        (lambda: StructuredGrid.graded(SPACE_TIME, (4, 4), {"leftt": 1}), ValueError, "mean 'left'"),
        (lambda: StructuredGrid.graded(SPACE_TIME, (4, 4), {"left": -1}), ValueError, r"\[0, 8"),
        (lambda: StructuredGrid.uniform(SPACE_TIME, (4, 4)).axis_nodes("y"), ValueError, "no axis 'y'"),
    ],
)
def test_grid_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


# sampling

SAMPLERS = [
    UniformSampler(),
    SobolSampler(),
    GradedSampler({"t": 2.0}),
    GradedSampler({"x": 0.5}, SobolSampler()),
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_lie_inside_their_boxes_and_follow_the_generator(sampler):
    boxes = SPACE_TIME.split("x", [0.0, 0.5])
    points = sampler.sample(boxes, 50, generator())
    assert {axis: tuple(values.shape) for axis, values in points.items()} == {"t": (3, 50), "x": (3, 50)}
    for i, box in enumerate(boxes):
        assert bool(box.contains({axis: values[i] for axis, values in points.items()}).all())
    again = sampler.sample(boxes, 50, generator())
    other = sampler.sample(boxes, 50, generator(1))
    assert torch.equal(points["x"], again["x"])
    assert not torch.equal(points["x"], other["x"])
    scaled = (points["x"] - points["x"].new_tensor([[-1.0], [0.0], [0.5]])) / points["x"].new_tensor(
        [[1.0], [0.5], [0.5]]
    )
    assert not torch.allclose(scaled[0], scaled[1])  # boxes are independent


def test_sampling_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    for sampler in SAMPLERS:
        sampler.sample(SPACE_TIME, 8, generator())
    assert torch.equal(before, torch.get_rng_state())


def test_sample_of_one_box_has_one_row_in_the_dtype_asked_for():
    points = UniformSampler().sample(SPACE_TIME, 7, generator(), dtype=torch.float32)
    assert points["x"].shape == (1, 7)
    assert points["x"].dtype == torch.float32


def test_sobol_points_are_evenly_spread_in_every_box():
    points = SobolSampler().sample([SPACE_TIME, SPACE_TIME], 64, generator())
    cells = (points["t"] * 4).long() * 8 + ((points["x"] + 1) * 4).long()
    for row in cells:  # 8 x 8 elementary cells, one point in each: a (0, 6, 2)-net
        assert torch.bincount(row, minlength=64).tolist() == [1] * 64


def test_graded_points_are_uniform_in_the_square_root_of_time():
    points = GradedSampler({"t": 2.0}).sample(TimeInterval(0, 4), 20000, generator())
    roots = points["t"].sqrt().sort().values[0] / 2
    expected = torch.linspace(0, 1, 20000, dtype=torch.float64)
    assert float((roots - expected).abs().max()) < 1.63 / math.sqrt(20000)  # Kolmogorov-Smirnov, 1 %


def test_face_points_lie_on_the_face():
    boxes = CUBOID.split("y", [0.5])
    points = face_points(boxes, "top", 20, generator(), SobolSampler())
    assert points["y"].tolist() == [[0.5] * 20, [2.0] * 20]
    assert points["x"].std() > 0.2
    assert face_points(Interval(0, 1), "right", 3, generator())["x"].tolist() == [[1.0] * 3]


def test_sampled_nodes_are_different_and_inside_their_ranges():
    ranges = [((0, 3), (4, 9)), ((2, 10), (0, 7)), ((5, 6), (1, 17))]
    nodes = sample_nodes(ranges, 15, generator())
    assert nodes.shape == (3, 15, 2)
    for block, pairs in zip(nodes, ranges, strict=True):
        assert len({tuple(node) for node in block.tolist()}) == 15
        for axis, (start, stop) in enumerate(pairs):
            assert start <= int(block[:, axis].min())
            assert int(block[:, axis].max()) < stop


@pytest.mark.parametrize("n", [3, 8, 10, 23])
def test_each_node_is_equally_likely(n):
    rounds = 4000
    nodes = sample_nodes([((0, 2), (3, 8))] * rounds, n, generator())
    flat = nodes[..., 0] * 5 + nodes[..., 1] - 3
    counts = torch.zeros(rounds, 10, dtype=torch.float64).scatter_add_(1, flat, torch.ones(flat.shape).double())
    assert set(counts.unique().tolist()) <= {float(n // 10), float(-(-n // 10))}
    spread = math.sqrt(0.25 / rounds)  # of the mean of a Bernoulli variable, at most
    assert float((counts.mean(0) - n / 10).abs().max()) < 4.5 * spread


def test_sample_nodes_of_a_huge_block_is_cheap():
    nodes = sample_nodes([((0, 10**6), (0, 10**6))], 5, generator())
    assert nodes.shape == (1, 5, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: UniformSampler().sample([], 3, generator()), ValueError, "at least one box"),
        (lambda: UniformSampler().sample([SPACE_TIME, CUBOID], 3, generator()), ValueError, "same axes"),
        (lambda: UniformSampler().sample(SPACE_TIME, 0, generator()), ValueError, "at least 1"),
        (lambda: GradedSampler({"t": 0}), ValueError, "must be positive"),
        (lambda: GradedSampler({"w": 1}), ValueError, "unknown axis"),
        (lambda: GradedSampler({"y": 2}).sample(SPACE_TIME, 3, generator()), ValueError, "axis 'y'"),
        (lambda: face_points(SPACE_TIME, "top", 3, generator()), ValueError, "no boundary 'top'"),
        (lambda: sample_nodes([], 3, generator()), ValueError, "at least one block"),
        (lambda: sample_nodes([((0, 0),)], 3, generator()), ValueError, "start < stop"),
        (lambda: sample_nodes([((0, 1.5),)], 3, generator()), ValueError, "integers"),
    ],
)
def test_sampling_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


# decompositions


@st.composite
def decomposed_grids(draw):
    axes = draw(st.sampled_from([("x",), ("t", "x"), ("x", "y"), ("t", "x", "y")]))
    shape = tuple(draw(st.integers(2, 7)) for _ in axes)
    counts = {axis: draw(st.integers(1, n)) for axis, n in zip(axes, shape, strict=True)}
    box = Box(axes, (0.0,) * len(axes), (1.0,) * len(axes))
    make = draw(st.sampled_from([StructuredGrid.uniform, StructuredGrid.cell_centred]))
    return cartesian_decomposition(make(box, shape), counts), counts


@settings(max_examples=60, deadline=None)
@given(decomposed_grids(), st.sampled_from([(), (2,), (2, 3)]))
def test_assemble_inverts_restrict_and_owner_agrees(case, batch):
    decomposition, counts = case
    grid = decomposition.grid
    values = torch.randn(*batch, *grid.shape, dtype=torch.float64, generator=generator())
    parts = decomposition.restrict(values)
    assert len(parts) == math.prod(counts.values())
    assert torch.equal(decomposition.assemble(parts), values)
    index = torch.cat([torch.full((part[(0,) * len(batch)].numel(),), i) for i, part in enumerate(parts)])
    blocks = [
        block.reshape(patch.shape)
        for block, patch in zip(
            index.split([math.prod(patch.shape) for patch in decomposition.patches]),
            decomposition.patches,
            strict=True,
        )
    ]
    assert torch.equal(decomposition.assemble(blocks), decomposition.owner(grid.coordinates()))
    for a in range(len(grid.axes)):
        sizes = {patch.shape[a] for patch in decomposition.patches}
        assert max(sizes) - min(sizes) <= 1


def test_restrict_gives_the_values_of_the_patch():
    grid = StructuredGrid.uniform(SPACE_TIME, (4, 7))
    values = torch.arange(28.0).reshape(4, 7)
    decomposition = cartesian_decomposition(grid, {"x": 3})
    assert [patch.node_ranges for patch in decomposition.patches] == [
        ((0, 4), (0, 3)),
        ((0, 4), (3, 5)),
        ((0, 4), (5, 7)),
    ]
    for patch, part in zip(decomposition.patches, decomposition.restrict(values), strict=True):
        assert torch.equal(part, values[:, slice(*patch.node_ranges[1])])


def test_restrict_and_assemble_pass_gradcheck():
    decomposition = cartesian_decomposition(StructuredGrid.uniform(SPACE_TIME, (3, 5)), {"x": 2, "t": 2})
    values = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: tuple(decomposition.restrict(v)), values)
    parts = [part.detach().requires_grad_() for part in decomposition.restrict(values)]
    assert torch.autograd.gradcheck(lambda *p: decomposition.assemble(p), parts)


def test_interfaces_lie_midway_between_nodes():
    grid = StructuredGrid(("x",), (f64(0.0, 0.1, 0.4, 1.0),))
    (interface,) = cartesian_decomposition(grid, {"x": 2}).interfaces
    assert interface.patches == (0, 1)
    assert interface.axis == "x"
    assert interface.position == pytest.approx(0.25)
    assert interface.lower == interface.upper == (interface.position,)


def test_neighbours_and_boundaries_in_two_dimensions():
    decomposition = cartesian_decomposition(Rectangle((0, 3), (0, 2)), {"x": 3, "y": 2})
    # patch = 2 * i_x + i_y
    assert [decomposition.neighbours(i) for i in range(6)] == [
        (1, 2), (0, 3), (0, 3, 4), (1, 2, 5), (2, 5), (3, 4),
    ]  # fmt: skip
    assert set(decomposition.edges) == {(0, 2), (2, 4), (1, 3), (3, 5), (0, 1), (2, 3), (4, 5)}
    assert decomposition.boundaries_of(0) == ("left", "bottom")
    assert decomposition.boundaries_of(3) == ("top",)
    (face,) = (i for i in decomposition.interfaces if i.patches == (2, 3))
    assert (face.axis, face.position, face.lower, face.upper) == ("y", 1.0, (1.0, 1.0), (2.0, 1.0))


def test_only_first_patches_in_time_touch_the_initial_time():
    decomposition = cartesian_decomposition(SPACE_TIME, {"t": 2, "x": 2})
    assert [decomposition.boundaries_of(i) for i in range(4)] == [
        ("initial", "left"),
        ("initial", "right"),
        ("left",),
        ("right",),
    ]


def test_a_point_on_an_interface_belongs_to_the_upper_patch():
    decomposition = cartesian_decomposition(Interval(0, 1), {"x": 4})
    points = {"x": f64(0.0, 0.2499, 0.25, 0.5, 0.75, 1.0)}
    assert decomposition.owner(points).tolist() == [0, 0, 1, 2, 3, 3]
    assert decomposition.owner({"x": points["x"].float()}).tolist() == [0, 0, 1, 2, 3, 3]


def test_owner_of_patches_that_form_no_lattice():
    left, right = Rectangle((0, 2), (0, 2)).split("x", [1.0])
    boxes = [left, *right.split("y", [0.5])]
    decomposition = Decomposition(tuple(Patch(i, box) for i, box in enumerate(boxes)), (), Rectangle((0, 2), (0, 2)))
    points = {"x": f64(0.5, 0.5, 1.5, 1.5), "y": f64(0.2, 1.5, 0.2, 1.5)}
    assert decomposition.owner(points).tolist() == [0, 0, 1, 2]


GRID = StructuredGrid.uniform(SPACE_TIME, (4, 6))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cartesian_decomposition(GRID, {"x": 7}), ValueError, "6 nodes, too few for 7 patches"),
        (lambda: cartesian_decomposition(GRID, {"y": 2}), ValueError, "no axis 'y'"),
        (lambda: cartesian_decomposition(GRID, {"x": 0}), ValueError, "at least 1"),
        (lambda: cartesian_decomposition(GRID, {"x": 2.0}), TypeError, "integer"),
        (
            lambda: cartesian_decomposition(SPACE_TIME, {"x": 2}).restrict(torch.ones(4, 6)),
            ValueError,
            "no grid",
        ),
        (lambda: cartesian_decomposition(GRID, {"x": 2}).restrict(torch.ones(6, 4)), ValueError, r"\(6, 4\)"),
        (
            lambda: cartesian_decomposition(GRID, {"x": 2}).assemble([torch.ones(4, 3)]),
            ValueError,
            "2 patches",
        ),
        (
            lambda: cartesian_decomposition(GRID, {"x": 2}).assemble([torch.ones(4, 3), torch.ones(4, 2)]),
            ValueError,
            "patch 1 needs values of shape",
        ),
        (lambda: cartesian_decomposition(GRID, {"x": 2}).neighbours(2), ValueError, "no patch 2"),
        (
            lambda: cartesian_decomposition(GRID, {"x": 2}).owner({"x": f64(2.0), "t": f64(0.0)}),
            ValueError,
            "1 points lie outside",
        ),
        (
            lambda: Decomposition((Patch(0, SPACE_TIME, ((0, 4), (0, 5))),), (), SPACE_TIME, GRID),
            ValueError,
            "flat node 5 is owned 0 times",
        ),
        (lambda: Decomposition((Patch(1, SPACE_TIME),), (), SPACE_TIME), ValueError, "indexed 0, 1"),
        (
            lambda: Decomposition((Patch(0, Interval(0, 1)),), (), Interval(0, 2)).owner({"x": f64(0.5)}),
            ValueError,
            "leave gaps",
        ),
    ],
)
def test_decomposition_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


# overlapping decompositions


@st.composite
def overlapping_grids(draw):
    axes = draw(st.sampled_from([("x",), ("t", "x"), ("x", "y"), ("t", "x", "y")]))
    counts = {axis: draw(st.integers(1, 3)) for axis in axes}
    shape = tuple(counts[axis] * draw(st.integers(4, 6)) + draw(st.integers(0, 1)) for axis in axes)
    grid = StructuredGrid.uniform(Box(axes, (-1.0,) * len(axes), (1.0,) * len(axes)), shape)
    chosen = draw(st.sampled_from([None, axes[:1], axes]))
    overlap = draw(st.sampled_from([0.4, 0.45, 0.5]))
    decomposition = cartesian_decomposition(grid, counts)
    return OverlappingDecomposition(decomposition, overlap, chosen, draw(st.integers(1, 4)))


@settings(max_examples=40, deadline=None)
@given(overlapping_grids(), st.sampled_from([(), (2,)]))
def test_overlapping_patches_are_assembled_to_what_they_were_cut_from(cover, batch):
    values = torch.randn(*batch, *cover.grid.shape, dtype=torch.float64, generator=generator())
    parts = cover.restrict(values)
    assert [part.shape[len(batch) :] for part in parts] == [patch.shape for patch in cover.patches]
    assert float((cover.assemble(parts) - values).abs().max()) < 1e-14
    for patch, own in zip(cover.patches, cover.base.patches, strict=True):
        assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in zip(patch.node_ranges, own.node_ranges, strict=True))


@settings(max_examples=40, deadline=None)
@given(overlapping_grids(), st.integers(0, 99))
def test_the_weights_of_patches_add_up_to_one(cover, seed):
    points = {axis: 2.0 * torch.rand(60, dtype=torch.float64, generator=generator(seed + i)) - 1.0
              for i, axis in enumerate(cover.domain.axes)}  # fmt: skip
    points["x"][:3] = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    weights = cover.weights(points)
    assert float(weights.min()) >= 0.0
    assert float((weights.sum(0) - 1.0).abs().max()) < 1e-14
    inside = torch.stack([patch.box.contains(points) for patch in cover.patches])
    assert not bool((weights[~inside] > 0).any())
    blend = cover.blend(points)
    assert bool((blend.weight.amax(0) > 0).all())
    owners = cover.base.owner(points).expand_as(blend.index)
    assert torch.equal(blend.index[blend.weight == 0], owners[blend.weight == 0])


@pytest.mark.parametrize("smoothness", [1, 2, 4])
@pytest.mark.parametrize("derivative", ["x", "xx", "tx", "xxx"])
def test_derivatives_of_weights_are_those_of_differences(smoothness, derivative):
    cut = cartesian_decomposition(SPACE_TIME, {"x": 3, "t": 2})
    cover = OverlappingDecomposition(cut, 0.37, smoothness=smoothness)
    t, x = torch.meshgrid(*(torch.linspace(a, b, 41, dtype=torch.float64) for a, b in ((0, 2), (-1, 1))), indexing="ij")
    h, patches = 1e-5, torch.full_like(t, 1, dtype=torch.int64)
    ends = [cover.share(patches, {"t": t, "x": x, derivative[0]: v}, derivative[1:])
            for v in ((t if derivative[0] == "t" else x) + h, (t if derivative[0] == "t" else x) - h)]  # fmt: skip
    exact = cover.share(patches, {"t": t, "x": x}, derivative)
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * h), exact, rtol=1e-3, atol=1e-3 * float(exact.abs().max()))


def test_an_overlapping_field_does_not_hear_patches_that_are_not_there():
    """NaN of one patch stays in its box."""
    cover = OverlappingDecomposition(
        cartesian_decomposition(StructuredGrid.uniform(SPACE_TIME, (4, 31)), {"x": 3}), 0.3
    )
    parts = cover.restrict(torch.ones(4, 31, dtype=torch.float64))
    parts[2] = parts[2] * math.nan
    whole = cover.assemble(parts)
    start = cover.patches[2].node_ranges[1][0]
    assert bool(torch.isfinite(whole[:, :start]).all())
    assert bool(torch.isnan(whole[:, start:]).all())


def test_overlapping_restrict_and_assemble_pass_gradcheck():
    grid = StructuredGrid.uniform(SPACE_TIME, (3, 10))
    cover = OverlappingDecomposition(cartesian_decomposition(grid, {"x": 2}), 0.3)
    values = torch.randn(2, 3, 10, dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: tuple(cover.restrict(v)), values)
    parts = [part.detach().clone().requires_grad_() for part in cover.restrict(values)]
    assert torch.autograd.gradcheck(lambda *p: cover.assemble(p), parts)


HALVES = cartesian_decomposition(SPACE_TIME, {"x": 2})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        *((lambda v=v: OverlappingDecomposition(HALVES, v), ValueError, r"\(0, 0.5\]") for v in (0, -0.1, 0.51, 2)),
        *((lambda v=v: OverlappingDecomposition(HALVES, v), ValueError, "finite") for v in (math.nan, math.inf)),
        (lambda: OverlappingDecomposition(HALVES, "0.2"), TypeError, "real number"),
        (lambda: OverlappingDecomposition(HALVES, True), TypeError, "real number"),
        (lambda: OverlappingDecomposition(HALVES, 0.2, ("y",)), ValueError, "no axis 'y'"),
        (lambda: OverlappingDecomposition(HALVES, 0.2, smoothness=0), ValueError, "at least 1"),
        (
            lambda: OverlappingDecomposition(
                cartesian_decomposition(StructuredGrid.uniform(SPACE_TIME, (4, 8)), {"x": 4}), 0.1
            ),
            ValueError,
            "fewer than 2 nodes",
        ),
    ],
)  # fmt: skip
def test_overlap_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_patches_that_are_not_in_rows_and_columns_do_not_overlap():
    left, lower, upper = (
        Patch(0, Rectangle((0, 0.5), (0, 1))), Patch(1, Rectangle((0.5, 1), (0, 0.5))),
        Patch(2, Rectangle((0.5, 1), (0.5, 1))),
    )  # fmt: skip
    crooked = Decomposition((left, lower, upper), (), Rectangle((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="rows and columns"):
        OverlappingDecomposition(crooked, 0.2)
