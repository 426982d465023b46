import chainer
import numpy
import pytest

from tests.helpers.plain_show_and_tell import (
    LENGTHS,
    TOLERANCE,
    chainer_gates,
    make_batch,
    make_model,
)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 3])
def test_loss_and_gradients_match_the_plain_network(lengths, dtype, n_layers):
    model, plain = make_model(dtype, n_layers=n_layers)
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        lengths, 6, 11, dtype
    )

    loss = model(features, packed_inputs, packed_targets, batch_sizes)
    model.cleargrads()
    loss.backward()
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        plain_loss = sum(plain.caption_loss(*caption) for caption in zip(features, inputs, targets))
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
        lengths, 6, 11, 'float64'
    )
    loss = model(features, packed_inputs, packed_targets, batch_sizes).array

    total = 0
    for feature, tokens, next_tokens in zip(features, inputs, targets):
        state = model.start(feature[None])
        for token, next_token in zip(tokens, next_tokens):
            log_probs, state = model.step(numpy.array([token]), state)
            assert numpy.exp(log_probs).sum() == pytest.approx(1)
            total -= log_probs[0, next_token]
    assert total / len(packed_targets) == pytest.approx(float(loss), abs=1e-10)


def test_reports_loss_and_accuracy_weighted_by_tokens():
    model, _ = make_model('float64')
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        [5, 2], 6, 11, 'float64'
    )
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    with reporter:
        loss = model(features, packed_inputs, packed_targets, batch_sizes)

    n_correct = 0
    for feature, tokens, next_tokens in zip(features, inputs, targets):
        state = model.start(feature[None])
        for token, next_token in zip(tokens, next_tokens):
            log_probs, state = model.step(numpy.array([token]), state)
            n_correct += log_probs.argmax() == next_token
    assert reporter.observation['main/loss'] == (loss.array, 9)
    accuracy, weight = reporter.observation['main/accuracy']
    assert accuracy == pytest.approx(n_correct / 9)
    assert weight == 9


def test_loss_reduction_sentence_sums_over_the_tokens_of_a_caption():
    model, plain = make_model('float64')
    features, inputs, targets, *packed = make_batch([5, 2, 1], 6, 11, 'float64')
    model.loss_reduction = 'sentence'
    with chainer.using_config('dtype', numpy.dtype('float64')):
        captions = zip(features, inputs, targets)
        expected = sum(plain.caption_loss(*caption).array for caption in captions) / 3
    assert model(features, *packed).array == pytest.approx(float(expected))


def test_reported_loss_is_without_label_smoothing():
    model, _ = make_model('float64')
    features, _, _, *packed = make_batch([5, 2, 1], 6, 11, 'float64')
    plain_loss = model(features, *packed).array
    model.label_smoothing = 0.1
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    with reporter:
        assert abs(model(features, *packed).array - plain_loss) > 1e-4
    assert reporter.observation['main/loss'][0] == plain_loss


def test_network_standardizes_features():
    model, _ = make_model('float64')
    features, _, _, *packed = make_batch([5, 2], 6, 11, 'float64')
    expected = model((features - 2) * 3, *packed).array
    model.feature_mean[:], model.feature_scale[:] = 2, 3
    assert model(features, *packed).array == pytest.approx(float(expected), abs=1e-12)


def test_dropout_acts_in_training_only():
    model, _ = make_model('float64', dropout=0.5)
    features, _, _, *packed = make_batch([5, 2], 6, 11, 'float64')
    with chainer.using_config('train', True):
        assert model(features, *packed).array != model(features, *packed).array
    with chainer.using_config('train', False):
        assert model(features, *packed).array == model(features, *packed).array


def test_gradients_with_dropout_match_numerical_gradients():
    model, _ = make_model('float64', dropout=0.4)
    features, _, _, *packed = make_batch([4, 3, 1], 6, 11, 'float64')

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
