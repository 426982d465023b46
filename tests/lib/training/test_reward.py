import itertools

import chainer
import numpy
import pytest
from chainer.training.updaters import StandardUpdater
from pycocoevalcap.cider.cider import Cider

from lib.captions.batch import Batch, make_converter
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.captions.vocabulary import BOS, EOS, UNK
from lib.decoding.caption import Caption
from lib.processes import Processes
from lib.training import reward as reward_module
from lib.training.reward import CiderReward, RewardLoss
from models.plain import PlainShowAndTell
from models.show_and_tell import ShowAndTell
from tests.helpers.samples import dataset as sample_dataset
from tests.helpers.samples import features_of

to_cpu = chainer.get_device('@numpy').send


def make_dataset(min_count=1):
    images = [
        CaptionedImage(
            image['imgid'],
            -1,
            image['filename'],
            image['split'],
            [sentence['tokens'] for sentence in image['sentences'][: 2 + n % 4]],
            [sentence['raw'] for sentence in image['sentences'][: 2 + n % 4]],
        )
        for n, image in enumerate(sample_dataset()['images'])
    ]
    return CaptionDataset.from_images(images, min_count)


def test_reward_is_the_cider_of_pycocoevalcap():
    dataset = make_dataset()
    rng, images = numpy.random.RandomState(0), dataset.images_of('train').tolist()
    first = {image: numpy.flatnonzero(dataset.image == image)[0] for image in images}
    # Two captions of other images for each, altered; one is empty.
    captions = {image: [] for image in images}
    for of_image in captions.values():
        for other in rng.choice(images, 2):
            tokens = dataset.tokens_of(first[other]).tolist()
            of_image.append([*tokens, *tokens[: rng.randint(4)]])
    captions[images[0]][1] = []

    def text(tokens):
        return ' '.join(map(str, [*tokens, EOS]))

    references = {
        image: [text(dataset.tokens_of(c)) for c in numpy.flatnonzero(dataset.image == image)]
        for image in images
    }
    rewards = CiderReward(dataset)(
        numpy.array(images), [[[*tokens, EOS] for tokens in captions[image]] for image in images]
    )
    for n in range(2):
        _, expected = Cider().compute_score(
            references, {image: [text(of_image[n])] for image, of_image in captions.items()}
        )
        numpy.testing.assert_allclose(rewards[:, n], expected, rtol=1e-9)
    assert rewards.max() > 1


def test_unknown_words_and_breaking_off_do_not_pay():
    dataset = make_dataset()
    reward, image = CiderReward(dataset), int(dataset.images_of('train')[0])
    caption = dataset.tokens_of(numpy.flatnonzero(dataset.image == image)[1]).tolist()
    captions = [[*caption, EOS], caption, [*caption[:-1], UNK, EOS]]
    ((whole, broken_off, unknown),) = reward(numpy.array([image]), [captions])
    assert whole > broken_off > unknown


@pytest.mark.parametrize(
    'n_images, min_count', [(2, 1), (1, 1), (2, 9)], ids=['short', 'one image', 'unknown']
)
def test_captions_that_say_nothing_in_particular_earn_nothing(n_images, min_count):
    images = [
        CaptionedImage(n, -1, f'{n}.jpg', 'train', [['dog']], ['dog']) for n in range(n_images)
    ]
    reward = CiderReward(CaptionDataset.from_images(images, min_count))
    captions = [[], [EOS], [UNK, EOS], [3, EOS], [3, 3, 3, 3, 3, EOS]]
    assert reward(numpy.array([n_images - 1]), [captions]).tolist() == [[0] * 5]


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


@pytest.mark.parametrize('length', [1, 4], ids=['sentence', 'mean'])
def test_the_gradient_is_that_of_the_expected_reward(device, network, monkeypatch, length):
    """Enumerates all pairs of samples, each with its probability."""
    features = device.send(numpy.random.RandomState(1).randn(1, 4))
    monkeypatch.setattr(reward_module, 'MAX_LENGTH', MAX_LENGTH)

    def reward(images, captions):
        assert images == [7]
        (of_image,) = captions
        return numpy.array([[REWARDS[tuple(t for t in tokens if t != EOS)] for tokens in of_image]])

    loss = RewardLoss(network, reward, weight=1, n_samples=2)
    inputs, targets = device.send(numpy.array([[0, 2, 3, 4], [2, 3, 4, 1]], 'int32'))
    batch = Batch(features, inputs, targets, [1] * 4, length, numpy.array([7]))
    probabilities = [probability(network, features, tokens) for tokens in CAPTIONS]
    assert sum(probabilities) == pytest.approx(1)
    gradients = {name: 0 for name, _ in network.namedparams()}
    for first, second in itertools.product(range(len(CAPTIONS)), repeat=2):
        drawn = [Caption(CAPTIONS[first], 0), Caption(CAPTIONS[second], 0)]
        monkeypatch.setattr(reward_module, 'sample', lambda *_, drawn=drawn, **__: [drawn])
        network.cleargrads()
        loss(batch).backward()
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


@pytest.mark.parametrize('loss_reduction', ['mean', 'sentence'])
def test_loss_is_that_of_the_captions_and_of_the_samples(device, monkeypatch, loss_reduction):
    """Computes it caption by caption. Of seven captions, three have three samples each."""
    drawn = []

    def sample_and_keep(*arguments, **options):
        drawn.extend(reward_module_sample(*arguments, **options))
        return drawn

    reward_module_sample = reward_module.sample
    monkeypatch.setattr(reward_module, 'sample', sample_and_keep)
    monkeypatch.setattr(reward_module, 'MAX_LENGTH', 5)
    numpy.random.seed(0)
    dataset = make_dataset()
    features = device.send(features_of(sample_dataset()))
    network = ShowAndTell(features.shape[1], len(dataset.vocabulary), 6, 7, dropout=0)
    for param in network.params():
        param.array[...] += numpy.random.randn(*param.shape)
    network.to_device(device)

    def reward(images, captions):
        earned = [[(image + sum(t)) % 7 for t in c] for image, c in zip(images, captions)]
        return numpy.array(earned, 'float64')

    captions = dataset.captions_of('train')[3:24:3]
    (batch,) = make_converter(dataset, features, loss_reduction)(captions, device)
    loss = RewardLoss(network, reward, weight=0.3, n_samples=3)(batch)
    assert loss.dtype == 'float32'
    assert any(len(caption.tokens) == 5 for of_image in drawn for caption in of_image)

    length = batch.divisor / len(captions)
    loss_of_samples = 0
    for image, of_image in zip(batch.images[::3].tolist(), drawn, strict=True):
        all_targets = [[*caption.tokens, EOS][:5] for caption in of_image]
        ((*rewards,),) = reward([image], [all_targets])
        for targets, earned in zip(all_targets, rewards):
            state = network.start(features[[dataset.imgid[image]]])
            nll = 0
            for token, target in zip([BOS, *targets], targets):
                log_probs, state = network.step(device.send(numpy.array([token], 'int32')), state)
                nll -= float(log_probs[0, target])
            advantage = earned - (sum(rewards) - earned) / 2
            loss_of_samples += advantage * nll / 9 / length
    assert abs(loss_of_samples) > 0.1
    expected = 0.7 * float(network(batch).array) + 0.3 * loss_of_samples
    assert float(loss.array) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('loss_reduction', ['mean', 'sentence'])
def test_processes_update_like_one_with_their_whole_batch(monkeypatch, loss_reduction):
    """Of an image whose samples are always the same, as their shares have samples of their own."""
    samples = [Caption([3, 4, 5], 0), Caption([3], 0)]
    monkeypatch.setattr(
        reward_module, 'sample', lambda _, features, *__, **___: [samples] * len(features)
    )
    dataset = make_dataset()
    features = features_of(sample_dataset())
    image = dataset.images_of('train')[2]
    captions = numpy.flatnonzero(dataset.image == image)[:4]

    def weights_after(processes):
        numpy.random.seed(0)
        network = PlainShowAndTell(features.shape[1], len(dataset.vocabulary), 6, 7, dropout=0)
        updater = StandardUpdater(
            chainer.iterators.SerialIterator(captions, len(captions)),
            chainer.optimizers.SGD(1).setup(network),
            make_converter(dataset, features, loss_reduction, processes),
            chainer.get_device('@numpy'),
            RewardLoss(network, CiderReward(dataset), weight=0.6, n_samples=2),
        )
        updater.update()
        return {name: param.array for name, param in network.namedparams()}

    expected = weights_after(Processes())
    of_processes = []
    for rank in range(2):
        processes = Processes()
        processes.rank, processes.size = rank, 2
        of_processes.append(weights_after(processes))
    for name, array in expected.items():
        mean = numpy.mean([weights[name] for weights in of_processes], axis=0)
        numpy.testing.assert_allclose(mean, array, atol=1e-6, err_msg=name)
