"""Speed of the group-rational function on the CPU beside plain PyTorch, torch.compile and GELU.

python benchmarks/rational_speed.py
python benchmarks/rational_speed.py --threads 1 --repeats 10
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peers.rounds import Call, Company, interleaved, settle_allocator, threads
from peers.run import verdict
from report import Report, options
from torch import Tensor

from superpose import info, using, which
from superpose.ops.rational import rational

SHAPE = (64, 197, 768)
"""What the first layer of an MLP in a base-sized vision transformer gets: images, tokens, channels."""

GROUPS, NUMERATOR, DENOMINATOR = 8, 6, 4
TARGETS = {"plain PyTorch": 0.15, "GELU": 1.5}
"""Most that a forward and a backward pass may take, over the same of another."""

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 1e-2}

Function = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class Data:
    """Points, coefficients and the gradient of the result."""

    x: Tensor
    numerator: Tensor
    denominator: Tensor
    grad: Tensor

    @classmethod
    def of(cls, shape: Sequence[int], dtype: torch.dtype) -> "Data":
        generator = torch.Generator().manual_seed(0)
        sizes = shape, (1, NUMERATOR), (GROUPS, DENOMINATOR), shape
        x, a, b, grad = (torch.randn(size, generator=generator) for size in sizes)
        return cls(x.to(dtype).requires_grad_(), a.requires_grad_(), b.requires_grad_(), grad.to(dtype))

    def step(self, function: Function) -> list[Tensor]:
        """The values, and the gradients of all that the function depends on."""
        y = function(self.x, self.numerator, self.denominator)
        leaves = [self.x] if function is gelu else [self.x, self.numerator, self.denominator]
        return [y.detach(), *torch.autograd.grad(y, leaves, self.grad)]

    def forward(self, function: Function) -> Tensor:
        with torch.no_grad():
            return function(self.x, self.numerator, self.denominator)


def plain(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """The formula as one writes it in PyTorch, computed in float32, by Horner's scheme."""
    points = x.float().unflatten(-1, (GROUPS, -1))
    size, below = points.abs(), denominator.abs()
    p, q = numerator[:, -1:], below[:, -1:]
    for i in range(NUMERATOR - 2, -1, -1):
        p = p * points + numerator[:, i : i + 1]
    for j in range(DENOMINATOR - 2, -1, -1):
        q = q * size + below[:, j : j + 1]
    return (p / (1 + q * size)).flatten(-2).to(x.dtype)


def gelu(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.nn.functional.gelu(x)


def ours(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    with using(rational="native"):
        return rational(x, numerator, denominator)


def functions(quick: bool) -> dict[str, Function]:
    compiled = {} if quick else {"torch.compile": torch.compile(plain, fullgraph=True)}
    return {"superpose": ours, "plain PyTorch": plain, **compiled, "GELU": gelu}


def errors(present: dict[str, Function], data: Data) -> dict[str, float]:
    """Of values and gradients, against the reference in float64, relative to the largest entry.

    Raises:
        AssertionError: If one of them is wrong.
    """
    wide = [each.detach().double().requires_grad_() for each in (data.x, data.numerator, data.denominator)]
    with using(rational="reference"):
        y = rational(*wide)
    exact = [y.detach(), *torch.autograd.grad(y, wide, data.grad.double())]
    found = {}
    for name, function in present.items():
        if function is gelu:
            continue
        pairs = zip(data.step(function), exact, strict=True)
        found[name] = max(float((mine - theirs).abs().max() / theirs.abs().max()) for mine, theirs in pairs)
        if not found[name] <= TOLERANCE[data.x.dtype]:
            raise AssertionError(f"{name} is wrong by {found[name]:.1e} in {data.x.dtype}")
    return found


def measure(report: Report, given: argparse.Namespace, dtype: torch.dtype) -> None:
    """Check, time and judge one dtype."""
    shape = (2, 5, 16) if given.quick else SHAPE
    present, name = functions(given.quick), str(dtype).removeprefix("torch.")
    small, data = Data.of((8, *shape[1:]), dtype), Data.of(shape, dtype)
    wrong = errors(present, small)
    if not given.quick:
        torch.compiler.reset()  # so that the sizes timed are the only ones compiled for
    company = Company()
    steps = interleaved({k: Call(lambda f=f: data.step(f)) for k, f in present.items()}, given.repeats)
    forwards = interleaved({k: Call(lambda f=f: data.forward(f)) for k, f in present.items()}, given.repeats)
    report.text(f"## {name}, {' x '.join(map(str, shape))}")
    rows = [
        ["forward and backward, ms", *(times.cell() for times in steps.values())],
        ["forward, ms", *(times.cell() for times in forwards.values())],
        ["error", *(wrong.get(k, "-") for k in present)],
    ]
    report.table(["", *present], rows)
    mine = steps["superpose"].median
    for rival in steps:
        if rival != "superpose":
            ratio = mine / steps[rival].median
            judged = verdict(ratio, TARGETS[rival]) if rival in TARGETS else f"{ratio:.2g}"
            report.text(f"Forward and backward, superpose to {rival}: {judged}.")
    report.text(f"Meanwhile {company}.")


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: as many as PyTorch takes"
    )
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    given = parser.parse_args(argv)
    if given.quick:
        given.repeats, given.threads = 2, 1
    with threads(given.threads):
        report = Report("rational_speed", "Speed of the group-rational function on the CPU", given)
        settle_allocator()
        x = Data.of((2, 16), torch.float32)
        report.text(
            f"superpose has {info().implementations['rational']}; here it is {which(ours, *_tensors(x))[0].implementation}. "
            f"PyTorch computes with {torch.backends.cpu.get_cpu_capability()}. Degrees 5 and 4, {GROUPS} groups, one "
            "numerator for all. Gradients are those of x and of all coefficients; GELU has that of x alone. plain PyTorch is "
            "the formula by Horner's scheme in float32, and torch.compile the same function compiled. All columns of a "
            f"table are timed in one process, in turns: {given.repeats} rounds after warm-up, forwards and backwards through the "
            "columns. **Cells are medians over the turns with the quartiles in brackets.** Errors are the largest of values and "
            "gradients, relative to their largest entry, against the reference in float64 on eight images."
        )
        for dtype in (torch.float32, torch.bfloat16):
            measure(report, given, dtype)
        report.close()


def _tensors(data: Data) -> tuple[Tensor, Tensor, Tensor]:
    return data.x, data.numerator, data.denominator


if __name__ == "__main__":
    main()
