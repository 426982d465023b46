import itertools

import chainer
import numpy
import pytest
from pycocoevalcap.cider.cider import Cider

from lib.captions.captioned_image import CaptionedImage
from lib.captions.dataset import CaptionDataset
from lib.captions.packing import make_converter
from lib.captions.vocabulary import BOS, EOS, UNK
from lib.decoding.caption import Caption
from lib.processes import Processes
from lib.training import reward as reward_module
from lib.training.parallel import ParallelUpdater, make_updater
from lib.training.reward import CiderReward, RewardLoss
from models.show_and_tell import ShowAndTell
from tests.helpers.plain_show_and_tell import PlainShowAndTell
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


@pytest.mark.parametrize('loss_reduction', ['mean', 'sentence'])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_loss_is_that_of_the_captions_and_of_the_samples(
    device, monkeypatch, loss_reduction, dtype
):
    """Computes it caption by caption. Of seven captions, three have three samples each."""
    drawn = []

    def sample_and_keep(*arguments, **options):
        drawn.append(reward_module_sample(*arguments, **options))
        return drawn[-1]

    reward_module_sample = reward_module.sample
    monkeypatch.setattr(reward_module, 'sample', sample_and_keep)
    monkeypatch.setattr(reward_module, 'MAX_LENGTH', 5)
    numpy.random.seed(0)
    dataset, features = make_dataset(), features_of(sample_dataset()).astype(dtype)
    sizes = features.shape[1], len(dataset.vocabulary), 6, 7
    network, plain = ShowAndTell(*sizes, dropout=0), PlainShowAndTell(*sizes)
    for param in network.params():
        param.array[...] += numpy.random.randn(*param.shape)
    plain.copy_from(network)
    network.to_device(device)
    network.loss_reduction = loss_reduction
    on_device = device.send(features)

    def reward(images, captions):
        earned = [[(image + sum(t)) % 7 for t in c] for image, c in zip(images, captions)]
        return numpy.array(earned, 'float64')

    captions = dataset.captions_of('train')[3:24:3]
    convert = make_converter(dataset, on_device, with_images=True)
    *arguments, images = convert(captions, device)
    loss = RewardLoss(network, reward, weight=0.3, n_samples=3)(*arguments, images)
    assert loss.dtype == 'float32'
    assert any(len(caption.tokens) == 5 for of_image in drawn[0] for caption in of_image)

    of_captions = float(network(*arguments).array)
    n_targets = len(captions) + dataset.lengths[captions].sum()
    length, of_samples = 1 if loss_reduction == 'sentence' else n_targets / len(captions), 0
    for image, of_image in zip(images[::3].tolist(), drawn[0], strict=True):
        all_targets = [[*caption.tokens, EOS][:5] for caption in of_image]
        ((*rewards,),) = reward([image], [all_targets])
        for targets, earned in zip(all_targets, rewards):
            nll = plain.caption_loss(
                features[dataset.imgid[image]].astype('float32'), [BOS, *targets], targets
            )
            advantage = earned - (sum(rewards) - earned) / 2
            of_samples += advantage * float(nll.array) / 9 / length
    assert abs(of_samples) > 0.1
    assert float(loss.array) == pytest.approx(0.7 * of_captions + 0.3 * of_samples, rel=1e-4)


@pytest.mark.parametrize('loss_reduction', ['mean', 'sentence'])
def test_processes_update_like_one_with_their_whole_batch(monkeypatch, loss_reduction):
    """Of an image whose samples are always the same, as their shares have samples of their own."""
    samples = [Caption([3, 4, 5], 0), Caption([3], 0)]
    monkeypatch.setattr(
        reward_module, 'sample', lambda _, features, *__, **___: [samples] * len(features)
    )
    dataset, features = make_dataset(), features_of(sample_dataset())
    image = dataset.images_of('train')[2]
    captions = numpy.flatnonzero(dataset.image == image)[:4]

    def weights_after(processes):
        numpy.random.seed(0)
        network = ShowAndTell(features.shape[1], len(dataset.vocabulary), 6, 7, dropout=0)
        network.loss_reduction = loss_reduction
        optimizer = chainer.optimizers.SGD(1).setup(network)
        updater = make_updater(
            captions,
            len(captions),
            optimizer,
            processes,
            dataset,
            seed=0,
            converter=make_converter(dataset, features, with_images=True),
            device=chainer.get_device('@numpy'),
            loss_func=RewardLoss(network, CiderReward(dataset), weight=0.6, n_samples=2),
        )
        assert isinstance(updater, ParallelUpdater) == (processes.size > 1)
        updater.update()
        return {name: param.array for name, param in network.namedparams()}

    expected, of_processes = weights_after(Processes()), []
    for rank in range(2):
        processes = Processes()
        processes.rank, processes.size = rank, 2
        processes.compute_on_main = lambda compute, *arguments: compute(*arguments)
        of_processes.append(weights_after(processes))
    for name, array in expected.items():
        mean = numpy.mean([weights[name] for weights in of_processes], axis=0)
        numpy.testing.assert_allclose(mean, array, atol=1e-6, err_msg=name)
