import json
import pickle
from inspect import isabstract

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import superpose
from superpose import KAN, MLP, bases, load, save, storage
from superpose.bases import Basis, BSpline, Chebyshev
from superpose.layers import KANLinear
from superpose.storage import read_metadata

FAMILIES = [f for f in vars(bases).values() if isinstance(f, type) and issubclass(f, Basis) and not isabstract(f)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
MODULES = st.builds(
    lambda make: make(),
    st.sampled_from(
        [nn.SiLU, nn.Identity, nn.Tanh, lambda: nn.GELU("tanh"), lambda: nn.LeakyReLU(0.3), lambda: nn.PReLU(init=0.7)]
    ),
)


def scramble(model, seed=0):
    """Other parameters and scalings than any constructor makes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "basis" not in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


def assert_equal(loaded, model):
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    assert loaded.widths == model.widths
    expected, state = model.state_dict(), loaded.state_dict()
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert state[name].equal(tensor), name
    assert [p.requires_grad for p in loaded.parameters()] == [True] * len(list(model.parameters()))
    x = torch.linspace(-2, 2, 5 * model.widths[0], dtype=next(model.parameters()).dtype).view(5, -1)
    # Half precision overflows to the same NaN on both sides.
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0, equal_nan=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_family_round_trips_with_its_placement(tmp_path, family, dtype):
    first = family()
    moved = first.at(first.breakpoints.expand(3, -1) * torch.tensor([[1.0], [2.5], [0.1]]) + 0.7)
    model = scramble(KAN((3, 4, 2), first).to(dtype))
    model.layers[0].basis = moved.to(dtype)
    save(model, tmp_path / "m.safetensors")
    assert_equal(load(tmp_path / "m.safetensors"), model)


@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    basis=st.one_of(
        st.builds(BSpline, st.integers(1, 9), st.integers(0, 5), st.sampled_from(["linear", "clamp", "zero"])),
        st.builds(Chebyshev, st.integers(0, 9), st.sampled_from(["linear", "clamp", "zero"])),
    ),
    base=MODULES,
    dtype=st.sampled_from(DTYPES),
    metadata=st.dictionaries(st.text(), st.lists(st.text()) | st.integers() | st.booleans() | st.none()),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_kan_round_trip(folder, widths, basis, base, dtype, metadata):
    model = scramble(KAN(widths, basis, base=base).to(dtype))
    save(model, folder / "kan.safetensors", metadata)
    assert_equal(load(folder / "kan.safetensors"), model)
    assert read_metadata(folder / "kan.safetensors") == metadata


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), MODULES, st.sampled_from(DTYPES))
@settings(max_examples=20, deadline=None)
def test_mlp_round_trip(folder, widths, activation, dtype):
    model = scramble(MLP(widths, activation).to(dtype))
    save(model, folder / "mlp.safetensors")
    assert_equal(load(folder / "mlp.safetensors"), model)


def test_layers_may_differ(tmp_path):
    model = KAN((2, 3, 1))
    model.layers[1] = KANLinear(3, 1, Chebyshev(degree=4), base=nn.Tanh())
    model.layers[0].basis, _ = model.layers[0].basis.refined(10)
    model.layers[0].coef = nn.Parameter(torch.randn(2, 13, 3))
    save(model, tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert_equal(loaded, model)
    assert type(loaded.layers[1].base) is nn.Tanh


def test_the_random_state_and_the_model_are_left_alone(tmp_path):
    model = KAN((2, 3, 1))
    before, weights = torch.get_rng_state(), model.layers[0].coef.clone()
    save(model, tmp_path / "m.safetensors")
    load(tmp_path / "m.safetensors")
    assert torch.get_rng_state().equal(before)
    assert model.layers[0].coef.equal(weights)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_on_a_gpu_comes_back_on_the_cpu(tmp_path):
    model = scramble(KAN((2, 3, 1)))
    save(model.cuda(), tmp_path / "m.safetensors")
    assert_equal(load(tmp_path / "m.safetensors"), model.cpu())


def test_replaces_a_file_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model = KAN((2, 1))
    save(model, path, {"run": 1})

    def fail(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(storage.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save(model, path, {"run": 2})
    assert read_metadata(path) == {"run": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere.safetensors")
    with pytest.raises(FileNotFoundError, match="no_folder"):
        save(KAN((2, 1)), tmp_path / "no_folder" / "m.safetensors")


def test_a_custom_base_is_named_with_the_way_out(tmp_path):
    class Bump(nn.Module):
        def forward(self, x):
            return torch.exp(-x * x)

    with pytest.raises(ValueError, match=r"Bump.*state_dict"):
        save(KAN((2, 1), base=Bump()), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_custom_basis_or_layer_is_named(tmp_path):
    class Mine(Chebyshev):
        def resized(self, size):
            return Mine(size)

    with pytest.raises(ValueError, match=r"basis Mine.*state_dict"):
        save(KAN((2, 1), Mine()), tmp_path / "m.safetensors")
    model = KAN((2, 1))
    model.layers[0] = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="layer 0 is a Linear, not a KANLinear"):
        save(model, tmp_path / "m.safetensors")


def test_other_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="Linear"):
        save(nn.Linear(2, 1), tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match="str"):
        save("model", tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_no_model_should_hold_are_refused(tmp_path, value):
    model = KAN((2, 1))
    with torch.no_grad():
        model.layers[0].coef[1, 2, 0] = value
    with pytest.raises(ValueError, match=r"layers\.0\.coef holds 1 values"):
        save(model, tmp_path / "m.safetensors")


def test_state_that_the_configuration_does_not_tell_is_refused(tmp_path):
    model = KAN((2, 1))
    model.layers[0].register_buffer("extra", torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"layers\.0\.extra"):
        save(model, tmp_path / "m.safetensors")


@pytest.mark.parametrize("metadata", [{"x": torch.ones(1)}, {"x": float("nan")}, {"x": object()}])
def test_metadata_is_json(tmp_path, metadata):
    with pytest.raises(TypeError, match="metadata"):
        save(KAN((2, 1)), tmp_path / "m.safetensors", metadata)


@pytest.mark.parametrize("read", [load, read_metadata])
def test_foreign_files(tmp_path, read):
    path = tmp_path / "foreign"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a safetensors file"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a safetensors file"):
        read(path)
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(ValueError, match="pickle"):
        read(path)
    torch.save(KAN((2, 1)).state_dict(), path)
    with pytest.raises(ValueError, match="pickle"):
        read(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="no network of superpose"):
        read(path)
    save_file({"weight": torch.ones(2)}, path, {"superpose": "[1]"})
    with pytest.raises(ValueError, match="no network of superpose"):
        read(path)


def rewritten(path, change_tensor=lambda name, value: value, **changes):
    """The file with another configuration or other tensors and a digest that vouches for it."""
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["superpose"]) | changes
        state = {name: change_tensor(name, file.get_tensor(name)).contiguous() for name in file.keys()}  # noqa: SIM118
    del document["sha256"]
    document["sha256"] = storage._digest(document, state)
    save_file(state, path, {"superpose": json.dumps(document)})


def test_format_1_is_still_read(tmp_path):
    path = tmp_path / "m.safetensors"
    model = KAN((2, 3, 1))
    save(model, path)
    rewritten(path, lambda name, value: value.permute(2, 0, 1) if name.endswith("coef") else value, format=1)
    assert_equal(load(path), model)


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    path = tmp_path / "m.safetensors"
    save(KAN((2, 1)), path)
    rewritten(path, format=4, version="9.0")
    with pytest.raises(ValueError, match=r"format 4, written by superpose 9\.0.*upgrade"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"class": "os.system"},
        {"widths": [2, 4, 1]},
        {"widths": "2-3-1"},
        {"layers": []},
        {"layers": [{"basis": {"class": "Basis", "arguments": {}}, "base": {"class": "SiLU", "arguments": {}}}] * 2},
        {
            "layers": [{"basis": {"class": "BSpline", "arguments": {}}, "base": {"class": "Module", "arguments": {}}}]
            * 2
        },
        {"layers": [{"basis": {"class": "BSpline", "arguments": {"x": 1}}, "base": None}] * 2},
        {"layers": None},
    ],
)
def test_a_configuration_that_fits_nothing(tmp_path, change):
    path = tmp_path / "m.safetensors"
    save(KAN((2, 3, 1)), path)
    rewritten(path, **change)
    with pytest.raises(ValueError, match="cannot be built"):
        load(path)


@pytest.fixture(scope="module")
def intact(folder):
    path = folder / "intact.safetensors"
    save(scramble(KAN((2, 2, 1), BSpline(3, 2))), path, {"columns": ["a", "b"]})
    return path.read_bytes()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_truncated_file_is_a_clear_error(folder, intact, data):
    path = folder / "cut.safetensors"
    path.write_bytes(intact[: data.draw(st.integers(0, len(intact) - 1))])
    with pytest.raises(ValueError, match=str(path)):
        load(path)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_never_passes_for_another_model(folder, intact, data):
    path = folder / "flipped.safetensors"
    spot = data.draw(st.integers(0, len(intact) - 1))
    other = data.draw(st.integers(0, 255))
    path.write_bytes(intact[:spot] + bytes([other]) + intact[spot + 1 :])
    try:
        loaded = load(path)
    except ValueError:
        return
    # What is left are bytes that say the same, such as another blank in the padding of the header.
    save(loaded, path, read_metadata(path))
    assert path.read_bytes() == intact


def test_files_say_who_wrote_them(tmp_path):
    save(KAN((2, 1)).double(), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        document = json.loads(file.metadata()["superpose"])
    assert document["version"] == superpose.__version__
    assert document["format"] == 2
    assert document["dtypes"] == ["float64"]
