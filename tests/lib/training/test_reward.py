import itertools

import chainer
import numpy
import pytest
from pycocoevalcap.cider.cider import Cider

from lib.captions.captioned_image import CaptionedImage
from lib.captions.dataset import CaptionDataset
from lib.captions.vocabulary import BOS, EOS, UNK
from lib.decoding.caption import Caption
from lib.training import reward as reward_module
from lib.training.reward import CiderReward, RewardLoss
from models.show_and_tell import ShowAndTell
from tests.helpers.samples import dataset as sample_dataset

to_cpu = chainer.get_device('@numpy').send


def make_dataset(min_count=1):
    images = [
        CaptionedImage(
            image['imgid'],
            -1,
            image['filename'],
            image['split'],
            [sentence['tokens'] for sentence in image['sentences']],
            [sentence['raw'] for sentence in image['sentences']],
        )
        for image in sample_dataset()['images']
    ]
    return CaptionDataset.from_images(images, min_count)


def test_reward_is_the_cider_of_pycocoevalcap():
    dataset = make_dataset()
    rng, images = numpy.random.RandomState(0), dataset.images_of('train').tolist()
    first = {image: numpy.flatnonzero(dataset.image == image)[0] for image in images}
    # Captions of other images, altered; one is empty.
    captions = {}
    for image in images:
        tokens = dataset.tokens_of(first[images[rng.randint(len(images))]]).tolist()
        captions[image] = [*tokens, *tokens[: rng.randint(4)]]
    captions[images[0]] = []

    def text(tokens):
        return ' '.join(map(str, [*tokens, EOS]))

    references = {
        image: [text(dataset.tokens_of(c)) for c in numpy.flatnonzero(dataset.image == image)]
        for image in images
    }
    _, expected = Cider().compute_score(
        references, {image: [text(tokens)] for image, tokens in captions.items()}
    )
    reward = CiderReward(dataset)
    rewards = reward(numpy.array(images), [[[*captions[image], EOS]] for image in images])[:, 0]
    numpy.testing.assert_allclose(rewards, expected, rtol=1e-9)
    assert max(rewards) > 1


def test_unknown_words_and_breaking_off_do_not_pay():
    dataset = make_dataset()
    reward, image = CiderReward(dataset), int(dataset.images_of('train')[0])
    caption = dataset.tokens_of(numpy.flatnonzero(dataset.image == image)[1]).tolist()
    captions = [[*caption, EOS], caption, [*caption[:-1], UNK, EOS]]
    ((whole, broken_off, unknown),) = reward(numpy.array([image]), [captions])
    assert whole > broken_off > unknown


def test_data_sets_without_long_captions_are_fine():
    images = [CaptionedImage(n, -1, f'{n}.jpg', 'train', [['dog']], ['dog']) for n in range(2)]
    reward = CiderReward(CaptionDataset.from_images(images, 1))
    captions = [[3, EOS], [3, 3, 3, 3, 3, EOS]]
    assert reward(numpy.array([1]), [captions]).tolist() == [[0, 0]]


# All captions of at most two tokens of a vocabulary of two words and <UNK>, and what each earns.
MAX_LENGTH = 2
CAPTIONS = [
    [*tokens]
    for length in range(MAX_LENGTH + 1)
    for tokens in itertools.product([2, 3, 4], repeat=length)
]
REWARDS = dict(zip(map(tuple, CAPTIONS), numpy.random.RandomState(5).rand(len(CAPTIONS))))


@pytest.fixture
def network(device):
    numpy.random.seed(2)
    with chainer.using_config('dtype', numpy.float64):
        network = ShowAndTell(4, 5, embed_size=3, hidden_size=3, dropout=0)
    for param in network.params():
        param.array[...] = numpy.random.randn(*param.shape)
    network.output.b.array[BOS] = -60
    return network.to_device(device)


def probability(network, features, tokens):
    """Returns the probability of a caption of the only image, a step at a time."""
    state, total = network.start(features), 0
    targets = tokens if len(tokens) == MAX_LENGTH else [*tokens, EOS]
    for token, target in zip([BOS, *tokens], targets):
        log_probs, state = network.step(network.xp.array([token], 'int32'), state)
        total += float(log_probs[0, target])
    return numpy.exp(total)


def expected_reward(network, features):
    return sum(probability(network, features, c) * REWARDS[tuple(c)] for c in CAPTIONS)


@pytest.mark.parametrize('loss_reduction, length', [('sentence', 1), ('mean', 4)])
def test_the_gradient_is_that_of_the_expected_reward(
    device, network, monkeypatch, loss_reduction, length
):
    """Enumerates all pairs of samples, each with its probability."""
    features = device.send(numpy.random.RandomState(1).randn(1, 4))
    monkeypatch.setattr(reward_module, 'MAX_LENGTH', MAX_LENGTH)
    network.loss_reduction = loss_reduction

    def reward(images, captions):
        assert images == [7]
        (of_image,) = captions
        return numpy.array([[REWARDS[tuple(t for t in tokens if t != EOS)] for tokens in of_image]])

    loss = RewardLoss(network, reward, weight=1, n_samples=2)
    batch = device.send(numpy.array([[0, 2, 3, 4], [2, 3, 4, 1]], 'int32'))
    probabilities = [probability(network, features, tokens) for tokens in CAPTIONS]
    assert sum(probabilities) == pytest.approx(1)
    gradients = {name: 0 for name, _ in network.namedparams()}
    for first, second in itertools.product(range(len(CAPTIONS)), repeat=2):
        drawn = [Caption(CAPTIONS[first], 0), Caption(CAPTIONS[second], 0)]
        monkeypatch.setattr(reward_module, 'sample', lambda *_, drawn=drawn, **__: [drawn])
        network.cleargrads()
        loss(features, *batch, [1, 1, 1, 1], None, numpy.array([7])).backward()
        for name, param in network.namedparams():
            if param.grad is not None:
                weight = probabilities[first] * probabilities[second]
                gradients[name] += weight * to_cpu(param.grad)

    for name, param in network.namedparams():
        for index in list(numpy.ndindex(*param.shape))[::3]:
            value, changes = float(param.array[index]), []
            for step in 1e-5, -1e-5:
                param.array[index] = value + step
                changes.append(expected_reward(network, features))
            param.array[index] = value
            slope = (changes[0] - changes[1]) / 2e-5
            assert -length * gradients[name][index] == pytest.approx(slope, abs=1e-8), name
