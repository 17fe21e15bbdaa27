"""What is in the pictures: the artists are counted and measured, and compared with the network."""

import sys
import time

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

mpl.use("Agg")

from matplotlib import pyplot as plt

import superpose
from superpose import KAN, KANLinear, attribute, fit, plot
from superpose.plotting import plot_edge, plot_front, plot_history, plot_scores
from superpose.plotting.graph import connected, graph
from superpose.plotting.layout import layout, smooth
from superpose.plotting.network import draw
from superpose.scores import Attribution


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def network(*widths, seed=0):
    return KAN(widths, generator=torch.Generator().manual_seed(seed))


def rows(count, width, seed=1):
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pruned(*edges, widths=(2, 3, 1)):
    """A network without some edges."""
    model = network(*widths)
    for n, o, i in edges:
        mask = torch.ones(model.layers[n].out_features, model.layers[n].in_features, dtype=torch.bool)
        mask[o, i] = False
        model.layers[n].keep_(mask)
    return model


def part(ax, label):
    """The collection of this name."""
    return next(artist for artist in ax.collections if artist.get_label() == label)


def counts(ax):
    return {name: len(part(ax, name).get_paths()) for name in ("lines", "frames", "curves")}


def words(ax):
    return [text.get_text() for text in ax.texts]


@torch.no_grad()
def naive(model, X, edge):
    """The function of an edge over its data, from differences of the layer's own outputs."""
    n, o, i = edge
    values = model.input_scaling(X)
    for layer in model.layers[:n]:
        values = layer(values)
    data = values[:, i]
    others = values[:1].expand(65, -1).clone()
    others[:, i] = torch.linspace(float(data.min()), float(data.max()), 65, dtype=data.dtype)
    out = model.layers[n](others)[:, o]
    return (out - out[0]).double().numpy()


def shape_of(values):
    return (values - values.min()) / (values.max() - values.min())


# ------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("widths", [(2, 5, 1), (4, 10, 10, 1), (16, 8, 3), (1, 1), (3, 1, 4)])
def test_every_edge_has_a_line_a_frame_and_a_curve(widths):
    ax = plot(network(*widths), rows(50, widths[0]))
    edges = sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    assert counts(ax) == {"lines": edges, "frames": edges, "curves": edges}
    assert len(part(ax, "sums").get_offsets()) == sum(widths)
    assert len(ax.collections) < 8


def test_curves_are_the_edge_functions_over_their_data():
    model, X = network(3, 4, 2).double(), rows(80, 3).double()
    model.input_scaling.scale[:] = 0.7
    ax = plot(model, X)
    drawn = [path.vertices for path in part(ax, "curves").get_paths()]
    expected = [shape_of(naive(model, X, edge)) for edge in graph(model, X).edges]
    for curve in drawn:
        assert np.allclose(shape_of(curve[:, 0]), np.linspace(0, 1, len(curve)))
        assert min(np.abs(shape_of(curve[:, 1]) - other).max() for other in expected) < 1e-9
    found = graph(model, X)
    for n, o, i in found.edges:
        y = found.layers[n].y[o, i]
        assert np.allclose(y - y[0], naive(model, X, (n, o, i)), atol=1e-12)


def test_each_curve_is_in_its_own_frame_and_frames_do_not_overlap():
    ax = plot(network(4, 10, 10, 1), rows(60, 4))
    boxes = [path.get_extents() for path in part(ax, "frames").get_paths()]
    curves = [path.get_extents() for path in part(ax, "curves").get_paths()]
    for box, curve in zip(boxes, curves, strict=True):
        assert box.x0 < curve.x0 and curve.x1 < box.x1
        assert box.y0 < curve.y0 and curve.y1 < box.y1
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:n])


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("widths", [(2, 5, 1), (4, 10, 10, 1), (16, 8, 3)])
def test_lines_run_from_node_to_node_and_behind_no_frame_but_their_own(widths, labelled):
    picture = graph(network(*widths), rows(60, widths[0]).double())
    found = layout(picture, (7, 6), 0.36, labelled=labelled)
    frames = np.array(list(found.frames.values()))
    for edge, line in found.lines.items():
        (n, o, i), line = edge, smooth(line)
        assert np.allclose(line[0], found.nodes[n, i])
        assert np.allclose(line[-1], found.nodes[n + 1, o])
        assert (np.diff(line[:, 0]) >= 0).all()
        fine = np.concatenate([np.linspace(a, b, 9) for a, b in zip(line[:-1], line[1:], strict=True)])
        inside = (np.abs(fine[:, None] - frames) < 0.499).all(-1).any(0)
        assert [e for e, behind in zip(found.frames, inside, strict=True) if behind] == [edge]
    x, y = np.concatenate([frames - 0.5, frames + 0.5]).T
    assert x.min() > 0 and x.max() < found.width and y.min() > 0 and y.max() < found.height


def test_the_most_important_edge_of_a_layer_has_the_widest_and_strongest_line():
    model, X = network(3, 2, 1), rows(100, 3)
    lines, scores = part(plot(model, X), "lines"), attribute(model, X).edges
    strengths = sorted(float(s) / float(layer.max()) for layer in scores for s in layer.flatten())
    widths, opacity = np.array(lines.get_linewidths()), lines.get_colors()[:, 3]
    assert np.allclose(opacity, 0.15 + 0.85 * np.array(strengths), atol=1e-6)
    assert np.allclose(widths / widths.max(), 0.3 + 0.7 * np.array(strengths), atol=1e-6)


def test_pruned_edges_are_gone_and_so_are_nodes_without_edges():
    X = rows(50, 2)
    assert counts(plot(pruned((0, 1, 0)), X))["curves"] == 8
    # Without its only way out the second node is gone, and its two ways in.
    ax = plot(pruned((1, 0, 1)), X)
    assert counts(ax)["curves"] == 6
    assert len(part(ax, "sums").get_offsets()) == 5
    ax = plot(pruned((0, 0, 1), (0, 1, 1), (0, 2, 1)), X, names=["kept", "gone"])
    assert words(ax) == ["kept", "$y$"]


def test_an_edge_that_is_zero_is_gone_without_a_mask():
    model = network(2, 3, 1)
    with torch.no_grad():
        model.layers[0].weight[1, 0] = 0
        model.layers[0].coef[0, :, 1] = 0
    assert counts(plot(model, rows(50, 2)))["curves"] == 8


def test_a_network_without_edges_is_its_outputs():
    model = network(2, 1)
    model.layers[0].keep_(torch.zeros(1, 2, dtype=torch.bool))
    ax = plot(model, rows(20, 2))
    assert counts(ax) == {"lines": 0, "frames": 0, "curves": 0}
    assert words(ax) == ["$y$"]
    ax.figure.canvas.draw()


def test_constant_data_give_a_level_curve():
    ax = plot(network(2, 1), torch.ones(20, 2))
    assert all(
        np.ptp(path.vertices) < 20 and np.isfinite(path.vertices).all() for path in part(ax, "curves").get_paths()
    )


def test_products_are_crosses_fed_by_their_factors():
    model = network(2, 3, 1)
    model.layers[1] = KANLinear(2, 1)
    ones = [torch.ones(3, 2), torch.ones(1, 2)]
    scores = Attribution(tuple(ones), (torch.ones(2), torch.ones(1)), torch.ones(2), (), (), 9)

    class WithProducts(KAN):
        arities = ((1, 2), (1,))

    model.__class__ = WithProducts
    picture = graph(model, rows(9, 2), scores)
    sums = model.layers[0](rows(9, 2)).detach().numpy()
    assert np.allclose(picture.layers[1].values, np.stack([sums[:, 0], sums[:, 1] * sums[:, 2]], 1))
    ax = draw(picture, ["a", "b"], ["y"], {}, None)
    assert counts(ax)["curves"] == 8
    assert len(part(ax, "times").get_offsets()) == 1
    assert len(part(ax, "products").get_paths()) == 2
    assert len(part(ax, "sums").get_offsets()) == 2 + 1 + 1 + 2  # inputs, a sum, the output, two factors
    times = part(ax, "times").get_offsets()[0]
    assert all(np.allclose(path.vertices[-1], times) for path in part(ax, "products").get_paths())


def test_a_product_that_goes_nowhere_takes_its_factors_along():
    masks = connected([torch.ones(3, 2, dtype=torch.bool), torch.tensor([[True, False]])], [(1, 2), (1,)])
    assert masks[0].tolist() == [[True, True], [False, False], [False, False]]


def test_names_of_inputs_and_outputs_are_text_and_dollars_are_dollars():
    X = pd.DataFrame(rows(30, 3).numpy(), columns=["price ($ per $)", "age_in_years", "$x_3$"])
    ax = plot(network(3, 2), X, outputs=["$z$", "50%"])
    assert words(ax) == ["price ($ per $)", "age_in_years", "$x_3$", "$z$", "50%"]
    ax.figure.canvas.draw()
    assert words(plot(network(2, 2), rows(30, 2))) == ["$x_{1}$", "$x_{2}$", "$y_{1}$", "$y_{2}$"]


def test_long_names_lose_their_middle_and_nothing_overlaps():
    names = [f"the mean {n} of everything that anybody has ever measured, in kilograms" for n in range(16)]
    ax = plot(network(16, 3), rows(30, 16), names=names)
    assert words(ax)[0].startswith("the mean 0") and words(ax)[0].endswith("kilograms") and "…" in words(ax)[0]
    boxes = [text.get_window_extent() for text in ax.texts]
    page = ax.figure.bbox
    for n, box in enumerate(boxes):
        assert box.x0 >= page.x0 and box.x1 <= page.x1
        assert not any(box.overlaps(other) for other in boxes[:n])
    frames = part(ax, "frames").get_window_extent()
    assert max(box.x1 for box in boxes[:16]) < frames.x0


def test_symbols_stand_below_their_frames_in_another_colour():
    ax = plot(network(2, 2, 1), rows(30, 2), symbols={(0, 1, 0): r"\sin", (1, 0, 1): "$x^2$"})
    assert words(ax)[-2:] == [r"$\sin$", "$x^2$"]
    assert all(mpl.colors.same_color(text.get_color(), "C1") for text in ax.texts[-2:])
    boxes = [path.get_extents() for path in part(ax, "frames").get_paths()]
    for text in ax.texts[-2:]:
        box = text.get_window_extent().transformed(ax.transData.inverted())
        assert not any(box.overlaps(other) for other in boxes)
    wide = plot(network(2, 1), rows(30, 2), symbols={(0, 0, 0): r"\sqrt{x} + \exp(x) + 3"}).texts[-1]
    assert wide.get_window_extent().width < 1.5 * 0.36 * wide.figure.dpi
    gone = plot(pruned((0, 1, 0)), rows(30, 2), symbols={(0, 1, 0): "x"})
    assert "$x$" not in words(gone)


def test_axes_given_are_used_and_pyplot_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure = mpl.figure.Figure(figsize=(6, 3))
    left, right = figure.subplots(1, 2)
    before = dict(mpl.rcParams)
    assert plot(network(2, 5, 1), rows(30, 2), ax=left) is left
    assert plot_edge(network(2, 5, 1), rows(30, 2), (0, 0, 0), ax=right) is right
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert not list(tmp_path.iterdir())
    low, high = left.get_xlim()
    frames = part(left, "frames").get_window_extent()
    assert left.bbox.x0 < frames.x0 and frames.x1 < left.bbox.x1 and low < high
    plot(network(2, 5, 1), rows(30, 2))
    assert len(plt.get_fignums()) == 1


def test_a_dark_style_gives_light_ink_on_dark_frames():
    with plt.style.context("dark_background"):
        ax = plot(network(2, 1), rows(30, 2))
        assert all(np.allclose(colour[:3], 0) for colour in part(ax, "frames").get_facecolor())
        assert np.allclose(part(ax, "lines").get_colors()[:, :3], 1)
        assert {text.get_color() for text in ax.texts} == {"white"}


def test_a_hundred_edges_take_less_than_a_third_of_a_second():
    model, X = network(4, 10, 6, 1), rows(1000, 4)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        ax = plot(model, X)
        seconds.append(time.process_time() - start)
    assert counts(ax)["curves"] == 106
    assert min(seconds) < 0.3


def test_wrong_arguments_of_plot_say_the_way_out():
    model, X = network(2, 3, 1), rows(20, 2)
    for arguments, kind, message in [
        (dict(model=superpose.MLP((2, 1))), TypeError, "only a KAN has edge functions to draw, got MLP"),
        (dict(X=rows(20, 3)), ValueError, "X must have shape"),
        (dict(X=torch.full((3, 2), torch.nan)), ValueError, "NaN or infinity in 3 of 3 rows"),
        (dict(names=["a"]), ValueError, "2 inputs, but there are 1 names"),
        (dict(outputs=["a", "b"]), ValueError, "1 outputs, but there are 2 names"),
        (dict(symbols={(2, 0, 0): "x"}), ValueError, "layers 0 to 1"),
        (dict(symbols={(0, 3, 0): "x"}), ValueError, "outputs 0 to 2"),
        (dict(symbols={"sin": "x"}), ValueError, "(layer, output, input)"),
        (dict(symbols={(0, 0, 0): r"\nosuch{"}), ValueError, "cannot set the LaTeX"),
        (dict(names=[r"$\nosuch$", "b"]), ValueError, "cannot set the LaTeX"),
        (dict(ax=plt), TypeError, "must be matplotlib Axes"),
        (dict(model=network(50, 50), X=rows(9, 50)), ValueError, "prune"),
    ]:
        with pytest.raises(kind) as caught:
            plot(**{"model": model, "X": X, **arguments})
        assert message in str(caught.value)
    assert plt.get_fignums() == []


# ---------------------------------------------------------------------------------------------- single edges


@pytest.mark.parametrize("edge", [(0, 1, 2), (1, 0, 1)])
def test_an_edge_is_drawn_over_its_data_in_the_units_of_the_model(edge):
    model, X = network(3, 2, 1).double(), rows(50, 3).double() * 40 + 100
    model.input_scaling.scale[:] = 1 / 40
    model.input_scaling.shift[:] = -2.5
    ax = plot_edge(model, X, edge)
    x, y = ax.lines[0].get_data()
    wanted = naive(model, X, edge)
    assert np.allclose(np.interp(np.linspace(x[0], x[-1], 65), x, y) - y[0], wanted, atol=1e-3 * np.ptp(wanted))
    if edge[0] == 0:
        assert np.allclose([x[0], x[-1]], [X[:, 2].min(), X[:, 2].max()])
        assert ax.get_xlabel() == "$x_{3}$"
    else:
        assert ax.get_xlabel() == "node 2 of layer 1"
    assert len(ax.collections[0].get_paths()) == 50  # a mark for every row


def test_many_rows_become_a_histogram():
    ax = plot_edge(network(2, 1), rows(5000, 2), (0, 0, 0))
    assert len(ax.collections) == 0 and len(ax.patches) == 1
    values = ax.patches[0].get_data().values
    assert len(values) == 48 and values.min() > 0


@pytest.mark.parametrize("own", [False, True])
def test_candidates_lie_over_the_edge_with_what_they_leave_below(own):
    model, X = network(2, 1), rows(50, 2)
    axes = mpl.figure.Figure().add_axes((0.1, 0.1, 0.8, 0.8)) if own else None
    guesses = [("line", lambda x: 2 * x), ("a constant", lambda x: 1.5), ("$\\ln x$", np.log)]
    with np.errstate(invalid="ignore"):
        ax = plot_edge(model, X, (0, 0, 1), candidates=guesses, ax=axes)
    below = next(other for other in ax.figure.axes if other is not ax)
    x, y = ax.lines[0].get_data()
    assert np.allclose(ax.lines[1].get_ydata(), 2 * x)
    assert np.allclose(below.lines[1].get_ydata(), y - 2 * x)
    assert np.allclose(below.lines[2].get_ydata(), y - 1.5)
    assert np.isnan(ax.lines[3].get_ydata()[0]) and np.isfinite(ax.lines[3].get_ydata()[-1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["edge", "line", "a constant", "$\\ln x$"]
    assert below.get_position().y1 < ax.get_position().y0
    assert below.get_xlabel() == "$x_{2}$" and ax.get_xlabel() == ""
    ax.figure.canvas.draw()


def test_wrong_edges_and_candidates_are_refused():
    model, X = network(2, 1), rows(50, 2)
    with pytest.raises(ValueError, match="inputs 0 to 1"):
        plot_edge(model, X, (0, 0, 2))
    with pytest.raises(ValueError, match="'pair' gave shape"):
        plot_edge(model, X, (0, 0, 0), candidates=[("pair", lambda x: x[:2])])
    with pytest.raises(TypeError, match="only a KAN"):
        plot_edge(superpose.MLP((2, 1)), X, (0, 0, 0))
    assert plt.get_fignums() == []


# --------------------------------------------------------------------------------------------------- charts


def test_the_history_of_a_fit_shows_losses_grids_and_the_step_that_was_kept():
    x = rows(200, 1)
    result = fit(network(1, 1), x, (3 * x).sin(), validation=0.2, intervals=(3, 6), starts=1)
    ax = plot_history(result)
    held = [record.validation_loss for record in result.history]
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert np.allclose(drawn["fitted rows"], [record.train_loss for record in result.history])
    assert np.allclose(drawn["held-out rows"], held)
    assert drawn["kept"] == [min(held)]
    assert words(ax) == ["3 intervals", "6"]
    assert sum(len(line.get_xdata()) == 2 for line in ax.lines) >= 1
    ax = plot_history(fit(network(1, 1), x, x, solver="adam", max_iter=3).history)
    assert [line.get_label() for line in ax.lines] == ["fitted rows"]
    with pytest.raises(ValueError, match="no steps"):
        plot_history([])
    with pytest.raises(TypeError, match=r"superpose\.fit gives back"):
        plot_history([1.0, 0.5])


def test_scores_are_bars_the_longest_on_top():
    X = rows(100, 30)
    found = attribute(network(30, 1), X, names=[f"c{n} $" for n in range(30)])
    ax = plot_scores(found)
    widths = [bar.get_width() for bar in ax.patches]
    assert np.allclose(widths, np.sort(found.inputs.numpy())[::-1][:25])
    assert ax.yaxis_inverted()
    assert ax.get_yticklabels()[0].get_text() == f"c{int(found.inputs.argmax())} \\$"
    assert "5 more" in ax.get_xlabel()
    with pytest.raises(TypeError, match=r"superpose\.attribute"):
        plot_scores(found.inputs)


def test_the_front_joins_what_nothing_simpler_beats():
    complexity, losses = [4, 1, 2, 3, 9, 2], [1e-3, 1, 0.2, 0.5, np.inf, 0.3]
    ax = plot_front(complexity, losses, picked=0, labels=["$x^2$", "c", "a", "b", "d", "e"], reference=5e-4)
    assert ax.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.2], [4, 1e-3]]
    assert ax.get_yscale() == "log"
    assert [word for word in words(ax) if word] == ["network", "c", "a", "$x^2$"]
    assert ax.lines[1].get_ydata() == [5e-4, 5e-4]
    ring = ax.collections[-1]
    assert ring.get_offsets().tolist() == [[4, 1e-3]]


def test_labels_of_the_front_do_not_overlap():
    losses = [1, 0.9, 0.85, 0.8, 0.79]
    ax = plot_front(range(1, 6), losses, labels=[f"quite a long formula, number {n}" for n in range(5)])
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    for n, box in enumerate(boxes):
        assert box.x1 <= ax.figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:n])


def test_wrong_fronts_are_refused():
    with pytest.raises(ValueError, match="2 complexities and 1 losses"):
        plot_front([1, 2], [1])
    with pytest.raises(ValueError, match="picked is 2"):
        plot_front([1, 2], [1, 2], picked=2)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_front([1, 2], [0, np.nan])
    assert plt.get_fignums() == []


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"superpose\[plot\]"):
        plot(network(2, 1), rows(20, 2))
    with pytest.raises(ModuleNotFoundError, match=r"superpose\[plot\]"):
        plot_front([1, 2], [2, 1])
