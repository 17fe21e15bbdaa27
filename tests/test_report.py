"""The page about a model: what is in it, and what a browser makes of it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch

from superpose import KAN, KANLinear, attribute
from superpose.plotting.graph import graph
from superpose.report import write_report
from superpose.report.formulas import checked
from superpose.report.page import number
from superpose.report.picture import Names, describe, draw
from superpose.scores import Attribution
from superpose.tabular import InputError, Job, Pipeline, fit_pipeline, prepare

pytestmark = pytest.mark.as_shipped

GENERATOR = np.random.default_rng(0)
ROWS = 120
FRAME = pd.DataFrame(
    {
        "size & <i>age</i>": GENERATOR.uniform(20, 200, ROWS).round(1),
        "town": GENERATOR.choice(["Rome", "Bern", "Oslo </script>"], ROWS),
        "a name so long that nobody will want to read it twice": GENERATOR.uniform(-1, 1, ROWS),
    }
)
FRAME["price"] = FRAME.iloc[:, 0] ** 1.5 + 300 * (FRAME["town"] == "Bern") + GENERATOR.standard_normal(ROWS)
FRAME.loc[3:5, "size & <i>age</i>"] = None
FRONT = [
    {"complexity": 5, "loss": 0.01, "held_out_loss": 0.012, "latex": "x^2", "text": "size^2 < 3", "picked": True},
    {"complexity": 1, "loss": 1.0, "held_out_loss": None, "latex": r"\alpha"},
    {"complexity": 9, "loss": 1e-9, "held_out_loss": 2e-9, "mathml": "<mi>x</mi><mo>&InvisibleTimes;</mo><mn>2</mn>"},
]
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page in")


@pytest.fixture(scope="module")
def pipeline():
    job = Job("price", max_time=2)
    return fit_pipeline(prepare(FRAME, job), job)[0]


@pytest.fixture(scope="module")
def page(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(pipeline, FRAME, path, FRONT)
    return path


class Reader(HTMLParser):
    """Collects the elements of a page, and checks that they are closed in order."""

    EMPTY = frozenset({"meta", "link", "br"})

    def __init__(self):
        super().__init__()
        self.elements, self.open, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def read(page):
    reader = Reader()
    reader.feed(page.read_text("utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def edges_of(page):
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="edges">(.*?)</script>', text)[1])


def test_the_page_says_what_was_fitted_and_how_good_it_is(page, pipeline):
    words = " ".join(" ".join(read(page).words).split())
    record = pipeline.record
    for text in (
        "price",
        record["verdict"],
        "size & <i>age</i>",
        "town=Oslo </script>",
        "ridge regression",
        "KAN (this model)",
        f"On {record['held_out']} rows held out of the fit",
        "On the 120 rows of this table",
        "size^2 < 3",
        r"\alpha",
        record["versions"]["torch"],
    ):
        assert text in words, text
    assert f"{record['scores']['KAN (this model)']['R²']:.3f}" in words
    assert f"{pipeline.score(FRAME).measures['R²']:.3f}" in words


def test_the_page_loads_nothing(page):
    for tag, attributes in read(page).elements:
        assert tag not in ("img", "iframe", "object", "embed"), tag
        for name, value in attributes.items():
            if name in ("src", "href", "srcset", "data", "action"):
                assert value.startswith("#") or value == "data:,", (tag, value)
    text = page.read_text("utf-8")
    assert "@import" not in text and "url(" not in text
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_every_edge_has_a_line_a_link_and_data(page, pipeline):
    elements, edges = read(page).elements, edges_of(page)
    x = torch.as_tensor(pipeline.inputs.encode(FRAME)[0])
    names = {"-".join(map(str, edge)) for edge in graph(pipeline.network, x).edges}
    assert set(edges) == names
    ids = [attributes.get("id") for _, attributes in elements]
    for name in names:
        assert ids.count(f"line-{name}") == ids.count(f"frame-{name}") == 1
        assert ("a", f"#edge-{name}") in [(tag, attributes.get("href")) for tag, attributes in elements]
    assert all(sum(edge["bins"]) == ROWS for edge in edges.values())


def test_edges_are_in_the_units_of_the_table(pipeline):
    model = pipeline.network
    x = torch.as_tensor(pipeline.inputs.encode(FRAME)[0])
    picture = graph(model, x)
    found = describe(model, picture, Names(pipeline.inputs.outputs, ["price"], ["price"]))
    for name, edge in found.items():
        n, _, i = map(int, name.split("-"))
        if n == 0:
            assert np.allclose(edge["x"], [x[:, i].min(), x[:, i].max()], rtol=1e-4, atol=1e-4)
    last = [edge for name, edge in found.items() if name.startswith(f"{len(model.layers) - 1}-")]
    wanted = picture.layers[-1].y * float(model.output_scaling.scale[0])
    assert np.isclose(max(max(edge["y"]) for edge in last), wanted[picture.layers[-1].alive].max(), rtol=1e-3)


def test_bars_are_as_long_as_the_scores(page, pipeline):
    x = torch.as_tensor(pipeline.inputs.encode(FRAME)[0])
    scores = np.sort(attribute(pipeline.network, x).inputs.double().numpy())[::-1]
    widths = [float(v) for v in re.findall(r'<i style="width:([\d.]+)%">', page.read_text("utf-8"))]
    assert np.allclose(widths, 100 * scores / scores[0], atol=0.06)


def test_formulas_stand_from_simple_to_exact(page):
    text = page.read_text("utf-8")
    assert (
        text.index(r"\alpha")
        < text.index("size^2 &lt; 3")
        < text.index("<math><mi>x</mi><mo>\u2062</mo><mn>2</mn></math>")
    )
    assert text.count('class="picked"') == 1
    with pytest.raises(ValueError, match="needs 'mathml', 'text' or 'latex'"):
        write_report_with([{"complexity": 1}])


def write_report_with(front):
    from superpose.report.formulas import formulas

    return formulas(front, number)


@pytest.mark.parametrize(
    ("mathml", "message"),
    [
        ("<mi>x", "not MathML"),
        ("<script>alert(1)</script>", "may not hold script"),
        ('<mi onclick="alert(1)">x</mi>', "may not hold onclick"),
        ('<mi href="x">x</mi>', "may not hold href"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><mi>x</mi>', "elements and text alone"),
    ],
)
def test_mathml_that_is_more_than_a_formula_is_refused(mathml, message):
    with pytest.raises(ValueError, match=message):
        checked(mathml)


def test_mathml_of_sympy_is_taken():
    sympy = pytest.importorskip("sympy")
    from sympy.printing.mathml import mathml

    x = sympy.Symbol("x")
    made = mathml(2 * sympy.exp(-(x**2) / 3) * sympy.sin(sympy.pi * x), printer="presentation")
    assert checked(made).startswith("<math>")
    assert checked(f'<math xmlns="http://www.w3.org/1998/Math/MathML">{made}</math>') == checked(made)


def test_classes_and_a_table_without_the_target(tmp_path):
    frame = FRAME.assign(dear=np.where(FRAME["price"] > 1200, "yes", "no")).drop(columns="price")
    job = Job("dear", max_time=1, holdout=0)
    pipeline, _ = fit_pipeline(prepare(frame, job), job)
    write_report(pipeline, frame.drop(columns="dear"), tmp_path / "report.html")
    words = " ".join(" ".join(read(tmp_path / "report.html").words).split())
    assert "One of 2 classes" in words
    assert "Nothing was held out in the fit, and this table lacks dear, so nobody knows." in words
    assert "Formulas" not in words
    assert any("logit of yes" in edge["facts"] for edge in edges_of(tmp_path / "report.html").values())


def test_products_are_drawn_and_described():
    model = KAN((2, 3, 1))
    model.layers[1] = KANLinear(2, 1)
    scores = Attribution((torch.ones(3, 2), torch.ones(1, 2)), (), torch.ones(2), (), (), 9)

    class WithProducts(KAN):
        arities = ((1, 2), (1,))

    model.__class__ = WithProducts
    picture = graph(model, torch.rand(9, 2), scores)
    names = Names(["a", "b"], ["y"], ["y"])
    svg = draw(picture, names)
    assert svg.count('class="times"') == 1 and svg.count('class="join"') == 2 and svg.count("<a ") == 8
    assert describe(model, picture, names)["0-2-0"]["to"] == "factor 2 of hidden node 2"


def test_the_page_is_whole_or_not_there(pipeline, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(InputError, match="the model needs a column"):
        write_report(pipeline, FRAME.drop(columns="town"), path)
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_report(pipeline, FRAME, tmp_path / "nowhere" / "report.html")
    write_report(pipeline, FRAME, path)
    write_report(pipeline, FRAME, tmp_path / "again.html")
    assert path.read_bytes() == (tmp_path / "again.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.html", "report.html"]


def test_a_network_with_too_many_edges_has_a_page_without_a_picture(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("superpose.report.page.MOST_EDGES", 3)
    write_report(pipeline, FRAME, tmp_path / "report.html")
    assert edges_of(tmp_path / "report.html") == {}
    assert "too many to see" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (3, "3"),
        (-0.25, "−0.25"),
        (1e-9, "1.00e−09"),
        (54321.0, "54,321"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_the_command_writes_the_page(pipeline, tmp_path, monkeypatch, capsys):
    pytest.importorskip("jsonargparse")
    pytest.importorskip("rich")
    from superpose.cli import main

    monkeypatch.chdir(tmp_path)
    pipeline.save("price.model")
    FRAME.to_csv("houses.csv", index=False)
    assert main(["report", "price.model", "houses.csv"]) == 0
    assert "Wrote report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_size > 10000
    assert Pipeline.load("price.model").record == pipeline.record
    assert main(["report", "price.model", "houses.csv", "--out", "price.model"]) == 2
    assert "would overwrite the model" in capsys.readouterr().err
    assert main(["report", "houses.csv", "houses.csv"]) == 2


# -------------------------------------------------------------------------------------------- in a browser


def opened(page, tmp_path, place="", *options):
    """The page as a browser has it once its scripts have run, and what it said on its console."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
        *options,
        "--dump-dom",
        f"{page.as_uri()}{place}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def is_open(dom):
    return re.search(r'<dialog[^>]* open(=""|[ >])', dom) is not None


@browser
def test_the_page_opens_without_errors_and_a_link_opens_its_edge(page, tmp_path):
    dom, said = opened(page, tmp_path)
    assert said == []
    assert not is_open(dom)
    name = next(iter(edges := edges_of(page)))
    dom, said = opened(page, tmp_path, f"#edge-{name}")
    assert said == []
    assert is_open(dom)
    assert re.search(r'<polyline class="curve" points="[^"]{500,}', dom)
    assert re.search(r'id="edge-facts">([^<]*)<', dom)[1] == edges[name]["facts"]
    dom, said = opened(page, tmp_path, "#edge-9-9-9")
    assert (is_open(dom), said) == (False, [])


@browser
def test_a_click_opens_an_edge_keys_walk_and_closing_returns(page, tmp_path):
    name = list(edges_of(page))[-1]
    steps = f"""
    const log = [], dialog = document.getElementById("edge"), frame = document.getElementById("frame-{name}");
    const facts = () => document.getElementById("edge-place").textContent;
    const once = (target, name, then) => target.addEventListener(name, then, {{ once: true }});
    once(window, "hashchange", () => {{
      log.push(dialog.open, location.hash, facts());
      dialog.dispatchEvent(new KeyboardEvent("keydown", {{ key: "ArrowRight" }}));
      log.push(facts());
      document.getElementById("close").click();
      log.push(dialog.open, location.hash);
      once(window, "hashchange", () => {{
        log.push(dialog.open);
        once(dialog, "close", () => {{
          if (dialog.open) return;
          log.push(location.hash);
          document.body.dataset.log = JSON.stringify(log);
        }});
        dialog.close();  // as the Escape key does
      }});
      frame.dispatchEvent(new MouseEvent("click", {{ bubbles: true, cancelable: true }}));
    }});
    frame.dispatchEvent(new MouseEvent("click", {{ bubbles: true, cancelable: true }}));"""
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text("utf-8").replace("</body>", f"<script>{steps}</script></body>"), "utf-8")
    dom, said = opened(copy, tmp_path)
    assert said == []
    count = len(edges_of(page))
    log = json.loads(re.search(r'data-log="([^"]*)"', dom)[1].replace("&quot;", '"'))
    assert log == [True, f"#edge-{name}", f"edge {count} of {count}", f"edge 1 of {count}", False, "", True, ""]


@browser
def test_dark_and_light_are_drawn(page, tmp_path):
    pictures = []
    for scheme in (0, 1):
        options = [f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={tmp_path / f'{scheme}.png'}"]
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        subprocess.run([*command, *options, page.as_uri()], capture_output=True, timeout=120, check=True)
        pictures.append((tmp_path / f"{scheme}.png").read_bytes())
    assert pictures[0] != pictures[1]
