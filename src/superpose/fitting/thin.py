"""Fits with a penalty on the scores of edges, and takes away the edges for which it then does not pay.

The penalty makes edges small but seldom zero, and without it they would grow again to mend what is left of the error.
So those that the penalised loss can do without go before it is released. They stay in the network's shape, as zeros.
"""

from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Smoothing, last, levenberg_marquardt
from superpose.fitting.losses import Loss
from superpose.fitting.problem import reach
from superpose.fitting.sparsity import Sparsity
from superpose.fitting.watch import Watch

STEPS = 6
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
"""Scores relative to the largest of a layer below which edges go together, the most daring first."""


def thinned(bundle: Bundle, train: Data, loss: Loss, smoothing: Smoothing, sparsity: Sparsity, watch: Watch) -> Bundle:
    """One network without the small edges whose going lowers the penalised loss, once the rest is fitted again."""

    def regrid(step: int, bundle: Bundle) -> Bundle | None:
        return bundle.stretched(train, margin=reach(train.total)) if step == 0 else None

    reached = _objective(bundle, train, loss, sparsity)
    scores = sparsity.scores(bundle)
    for share in SHARES:
        keep = [edges >= share * edges.max() for edges in scores]
        if watch.done or all(bool(kept.all()) for kept in keep):
            break
        watch.tell(f"thinning: {sum(int((~kept).sum()) for kept in keep)} edges")
        steps = levenberg_marquardt(bundle.with_edges(keep), train, loss, smoothing, regrid)
        trial = last(steps, STEPS, watch).bundle
        if _objective(trial, train, loss, sparsity) <= reached:
            return trial
    return bundle


def _objective(bundle: Bundle, train: Data, loss: Loss, sparsity: Sparsity) -> float:
    return float(bundle.losses(train, loss)[0] + sparsity.value(bundle)[0])
