"""The batches of an epoch, for one process or many."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from superpose.data.order import EvaluationOrder, Share, TrainingLoader, TrainingOrder


class Keys(Dataset):
    """Gives back the keys it is asked for."""

    def __len__(self):
        return 23

    def __getitem__(self, key):
        return key

    @staticmethod
    def collate(keys):
        return keys


def steps(size, batch, world, accumulate, epoch=0):
    """The set of samples of each step, over all processes."""
    orders = [TrainingOrder(size, batch, 3, Share(rank, world, accumulate)) for rank in range(world)]
    for order in orders:
        order.epoch = epoch
    rounds = list(zip(*orders, strict=True))
    assert len(rounds) == len(orders[0])
    joined = [sorted(chain(*parts)) for parts in rounds]
    return [sorted(chain(*joined[n : n + accumulate])) for n in range(0, len(joined), accumulate)]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 40))
def test_the_steps_are_the_same_for_any_number_of_processes(world, accumulate, part, more):
    batch = world * accumulate * part
    size = batch + more
    expected = steps(size, batch, 1, 1)
    assert steps(size, batch, world, accumulate) == expected
    seen = [key for step in expected for key in step]
    assert len(set(seen)) == len(seen) == size // batch * batch
    assert set(seen) <= {(0, index) for index in range(size)}


def test_epochs_and_seeds_differ():
    first, second = steps(100, 10, 1, 1), steps(100, 10, 1, 1, epoch=1)
    assert [key[1] for key in first[0]] != [key[1] for key in second[0]]
    assert [key[1] for key in first[0]] != sorted(index for _, index in next(iter(TrainingOrder(100, 10, 4, Share()))))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_where_its_state_was_saved(workers):
    def loader():
        return TrainingLoader(Keys(), TrainingOrder(23, 5, 0, Share()), collate_fn=Keys.collate, num_workers=workers)

    whole = loader()
    batches = [batch for _ in range(3) for batch in whole]
    assert len(batches) == 12
    assert [batch[0][0] for batch in batches] == [0] * 4 + [1] * 4 + [2] * 4
    for cut in (0, 3, 4, 6):
        first, second = loader(), loader()
        seen = []
        while len(seen) < cut:
            for batch in first:
                seen.append(batch)
                if len(seen) == cut:
                    break
        second.load_state_dict(first.state_dict())
        rest = [batch for _ in range(3) for batch in second]
        assert (seen + rest)[:12] == batches


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_evaluation_takes_each_sample_once_in_equally_many_full_batches(size, batch, world):
    if size < world:
        return
    shares = [list(EvaluationOrder(size, batch, Share(rank, world))) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(index for share in shares for part in share for _, index in part) == list(range(size))
    lengths = [len(part) for share in shares for part in share]
    assert min(lengths) > 0
    assert max(lengths) - min(lengths) <= 1


def test_batches_that_cannot_be_raise_what_to_do():
    with pytest.raises(ValueError, match="multiple of 6"):
        TrainingOrder(100, 10, 0, Share(0, 3, 2))
    with pytest.raises(ValueError, match="3 samples do not fill one batch of 4"):
        TrainingOrder(3, 4, 0, Share())
    with pytest.raises(ValueError, match="1 samples cannot be shared by 2 processes"):
        EvaluationOrder(1, 4, Share(0, 2))
