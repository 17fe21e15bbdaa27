"""Images as tensors."""

import numpy as np
import pytest
import torch
from PIL import Image

from superpose.data.chance import uniforms
from superpose.data.images import Images
from superpose.data.views import Augmentation, InMemory, Views, cropped, decode_all

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 6, 5, 3), dtype=np.uint8)


class Listed(Images):
    """Images in a list."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


IMAGES = Listed([(Image.fromarray(pixels), n % 4) for n, pixels in enumerate(PIXELS)])
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


@pytest.fixture
def memory():
    def make(augmentation=None, seed=0):
        return InMemory(*decode_all(IMAGES, range(9)), MEAN, STD, augmentation, seed)

    return make


def keys(indices, epoch=0):
    return [(epoch, index) for index in indices]


def test_without_augmentation_images_are_normalised_and_nothing_else(memory):
    images, labels = memory().__getitems__(keys([4, 2]))
    expected = (PIXELS[[4, 2]] / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert labels.tolist() == [0, 2]


def test_cropping_is_a_piece_of_the_padded_image():
    images = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    corners = torch.from_numpy(np.random.default_rng(1).integers(0, 5, (9, 2)))
    found = cropped(images, corners, 2)
    for n, (row, column) in enumerate(corners.tolist()):
        padded = np.pad(PIXELS[n], ((2, 2), (2, 2), (0, 0)))
        np.testing.assert_array_equal(found[n].permute(1, 2, 0), padded[row : row + 6, column : column + 5])


def test_half_of_the_images_are_mirrored_as_their_number_says(memory):
    dataset = memory(Augmentation(flip=True, crop=0), seed=5)
    found, _ = dataset.__getitems__(keys(range(9), epoch=2))
    plain, _ = memory().__getitems__(keys(range(9)))
    mirrored = uniforms(np.arange(9), 3, 5, 2)[:, 0] < 0.5
    assert 0 < mirrored.sum() < 9
    for n in range(9):
        assert torch.equal(found[n], plain[n].flip(2) if mirrored[n] else plain[n])


def test_augmentation_depends_on_seed_epoch_and_index_and_not_on_the_company(memory):
    dataset = memory(Augmentation(crop=2))
    together, _ = dataset.__getitems__(keys(range(9), epoch=1))
    alone, _ = dataset.__getitems__(keys([7, 3], epoch=1))
    assert torch.equal(alone, together[[7, 3]])
    assert not torch.equal(together, dataset.__getitems__(keys(range(9), epoch=2))[0])
    assert not torch.equal(together, memory(Augmentation(crop=2), seed=1).__getitems__(keys(range(9), epoch=1))[0])


def test_rand_augment_changes_images_and_leaves_the_global_state_alone(memory):
    dataset = memory(Augmentation(flip=False, crop=0, rand_augment=20))
    state = torch.get_rng_state()
    rounds = [dataset.__getitems__(keys(range(9), epoch))[0] for epoch in range(6)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(rounds[3], dataset.__getitems__(keys(range(9), 3))[0])
    assert len({each.numpy().tobytes() for each in rounds}) > 3


def test_grey_images_have_one_channel():
    pixels, labels = decode_all(IMAGES, [2, 1], "L")
    assert pixels.shape == (2, 1, 6, 5)
    assert labels.tolist() == [2, 1]
    assert pixels[0, 0].tolist() == np.asarray(IMAGES[2][0].convert("L")).tolist()


def test_images_of_several_sizes_raise():
    with pytest.raises(ValueError, match=r"image 1 has the shape \(3, 3, 3\), the first \(6, 5, 3\)"):
        decode_all(Listed([IMAGES[0], (Image.new("RGB", (3, 3)), 0)]), range(2))


def test_a_view_is_random_as_seed_epoch_and_index_say():
    def transform(image):
        return torch.rand(2) + float(np.asarray(image).mean())

    views = Views(IMAGES, [5, 6, 8], transform, seed=3)
    assert len(views) == 3
    (first, label), (again, _), (later, _) = views[0, 1], views[0, 1], views[1, 1]
    assert label == 6 % 4
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert (first - float(PIXELS[6].mean())).abs().max() < 1.001
    batch = Views.collate([(torch.zeros(3, 2, 2), 1), (torch.ones(3, 2, 2), 0)])
    assert batch.images.shape == (2, 3, 2, 2)
    assert batch.labels.tolist() == [1, 0]
