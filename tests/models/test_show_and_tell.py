from models.show_and_tell import ShowAndTell
from tests.models.plain_show_and_tell import PlainShowAndTell, chainer_gates

import chainer
import numpy
import pytest

LENGTHS = [
    pytest.param([1], id='one caption of one word'),
    pytest.param([7], id='batch of one'),
    pytest.param([3, 3, 3], id='equal lengths'),
    pytest.param([50, 12, 12, 4, 1, 1], id='1 to 50 words'),
]
TOLERANCE = {'float64': 1e-10, 'float32': 1e-4}


def make_batch(lengths, feature_size, vocabulary_size, dtype, seed=0):
    """Random captions, longest first, and the same packed time-major."""
    rng = numpy.random.RandomState(seed)
    features = rng.randn(len(lengths), feature_size).astype(dtype)
    sentences = [rng.randint(3, vocabulary_size, n) for n in lengths]
    inputs = [[0, *sentence] for sentence in sentences]
    targets = [[*sentence, 1] for sentence in sentences]
    steps = range(max(lengths) + 1)
    batch_sizes = [sum(t < len(words) for words in inputs) for t in steps]

    def pack(rows):
        return numpy.array([rows[i][t] for t in steps for i in range(batch_sizes[t])], 'int32')
    return features, inputs, targets, pack(inputs), pack(targets), batch_sizes


def make_model(dtype, dropout=0.0, n_layers=1):
    numpy.random.seed(1)
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        model = ShowAndTell(6, 11, 5, 4, dropout, n_layers)
        plain = PlainShowAndTell(6, 11, 5, 4, n_layers)
    for param in model.params():
        param.array[...] += 0.3 * numpy.random.randn(*param.shape).astype(dtype)
    plain.copy_from(model)
    return model, plain


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 3])
def test_loss_and_gradients_equal_the_plain_version(lengths, dtype, n_layers):
    model, plain = make_model(dtype, n_layers=n_layers)
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        lengths, 6, 11, dtype)

    loss = model(features, packed_inputs, packed_targets, batch_sizes)
    model.cleargrads()
    loss.backward()
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        plain_loss = sum(
            plain.sentence_loss(*sentence) for sentence in zip(features, inputs, targets))
        plain_loss /= len(packed_targets)
        plain.cleargrads()
        plain_loss.backward()

    def check(actual, expected):
        assert actual.dtype == dtype
        scale = max(1, abs(expected).max())
        numpy.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)

    check(loss.array, plain_loss.array)
    for name in 'image_projection', 'embedding', 'output':
        for param, plain_param in zip(model[name].params(), plain[name].params()):
            check(param.grad, plain_param.grad)
    for layer, plain_layer in zip(model.lstm, plain.lstm):
        check(chainer_gates(layer.W_x.grad), plain_layer.upward.W.grad)
        check(chainer_gates(layer.b.grad), plain_layer.upward.b.grad)
        check(chainer_gates(layer.W_h.grad), plain_layer.lateral.W.grad)


@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 2])
def test_decoding_gives_the_probabilities_of_training(lengths, n_layers):
    model, _ = make_model('float64', n_layers=n_layers)
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        lengths, 6, 11, 'float64')
    loss = model(features, packed_inputs, packed_targets, batch_sizes).array

    total = 0
    for feature, words, next_words in zip(features, inputs, targets):
        state = model.start(feature[None])
        for word, next_word in zip(words, next_words):
            log_probs, state = model.step(numpy.array([word]), state)
            assert numpy.exp(log_probs).sum() == pytest.approx(1)
            total -= log_probs[0, next_word]
    assert total / len(packed_targets) == pytest.approx(float(loss), abs=1e-10)


def test_reports_loss_and_accuracy_weighted_by_words():
    model, _ = make_model('float64')
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        [5, 2], 6, 11, 'float64')
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    with reporter:
        loss = model(features, packed_inputs, packed_targets, batch_sizes)

    n_right = 0
    for feature, words, next_words in zip(features, inputs, targets):
        state = model.start(feature[None])
        for word, next_word in zip(words, next_words):
            log_probs, state = model.step(numpy.array([word]), state)
            n_right += log_probs.argmax() == next_word
    assert reporter.observation['main/loss'] == (loss.array, 9)
    accuracy, weight = reporter.observation['main/accuracy']
    assert accuracy == pytest.approx(n_right / 9)
    assert weight == 9


def test_the_loss_of_sentences_is_the_sum_over_their_words():
    model, plain = make_model('float64')
    features, inputs, targets, *packed = make_batch([5, 2, 1], 6, 11, 'float64')
    model.loss = 'sentence'
    with chainer.using_config('dtype', numpy.dtype('float64')):
        expected = sum(plain.sentence_loss(*sentence).array
                       for sentence in zip(features, inputs, targets)) / 3
    assert model(features, *packed).array == pytest.approx(float(expected))


def test_label_smoothing_changes_the_loss_but_not_the_report():
    model, _ = make_model('float64')
    features, _, _, *packed = make_batch([5, 2, 1], 6, 11, 'float64')
    plain_loss = model(features, *packed).array
    model.label_smoothing = 0.1
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    with reporter:
        assert abs(model(features, *packed).array - plain_loss) > 1e-4
    assert reporter.observation['main/loss'][0] == plain_loss


def test_standardized_features_equal_features_standardized_by_hand():
    model, _ = make_model('float64')
    batch = make_batch([5, 2], 6, 11, 'float64')
    features, packed = batch[0], batch[3:]
    expected = model((features - 2) * 3, *packed).array
    model.feature_mean[:], model.feature_scale[:] = 2, 3
    assert model(features, *packed).array == pytest.approx(float(expected), abs=1e-12)


def test_dropout_acts_in_training_only():
    model, _ = make_model('float64', dropout=0.5)
    batch = make_batch([5, 2], 6, 11, 'float64')
    features, packed = batch[0], batch[3:]
    with chainer.using_config('train', True):
        assert model(features, *packed).array != model(features, *packed).array
    with chainer.using_config('train', False):
        assert model(features, *packed).array == model(features, *packed).array


def test_gradients_are_right_under_dropout():
    model, _ = make_model('float64', dropout=0.4)
    batch = make_batch([4, 3, 1], 6, 11, 'float64')
    features, packed = batch[0], batch[3:]

    def loss():
        numpy.random.seed(5)
        return model(features, *packed)

    model.cleargrads()
    loss().backward()
    for param in model.params():
        index = numpy.unravel_index(abs(param.grad).argmax(), param.shape)
        value, step = param.array[index], 1e-6
        param.array[index] = value + step
        above = float(loss().array)
        param.array[index] = value - step
        below = float(loss().array)
        param.array[index] = value
        assert (above - below) / (2 * step) == pytest.approx(param.grad[index], rel=1e-5)
