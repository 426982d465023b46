import chainer
import numpy
import pytest

from tests.helpers.plain_show_and_tell import (
    LENGTHS,
    TOLERANCE,
    chainer_gates,
    make_batch,
    make_model,
    packed_batch,
)

to_cpu = chainer.get_device('@numpy').send


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 3])
def test_loss_and_gradients_match_the_plain_network(device, lengths, dtype, n_layers):
    model, plain = make_model(dtype, n_layers=n_layers)
    model.to_device(device)
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        lengths, 6, 11, dtype
    )

    loss = model(*device.send((features, packed_inputs, packed_targets)), batch_sizes)
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
        numpy.testing.assert_allclose(
            to_cpu(actual), expected, rtol=0, atol=TOLERANCE[dtype] * scale
        )

    check(loss.array, plain_loss.array)
    for name in 'image_projection', 'embedding', 'output':
        for param, plain_param in zip(model[name].params(), plain[name].params()):
            check(param.grad, plain_param.grad)
    for layer, plain_layer in zip(model.lstm, plain.lstm):
        check(chainer_gates(to_cpu(layer.W_x.grad)), plain_layer.upward.W.grad)
        check(chainer_gates(to_cpu(layer.b.grad)), plain_layer.upward.b.grad)
        check(chainer_gates(to_cpu(layer.W_h.grad)), plain_layer.lateral.W.grad)


@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 2])
def test_decoding_gives_the_probabilities_of_training(device, lengths, n_layers):
    model, _ = make_model('float64', n_layers=n_layers)
    model.to_device(device)
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        lengths, 6, 11, 'float64'
    )
    features, packed_inputs, packed_targets = device.send((features, packed_inputs, packed_targets))
    loss = model(features, packed_inputs, packed_targets, batch_sizes).array

    total = 0
    for feature, tokens, next_tokens in zip(features, inputs, targets):
        state = model.start(feature[None])
        for token, next_token in zip(tokens, next_tokens):
            log_probs, state = model.step(device.send(numpy.array([token])), state)
            log_probs = to_cpu(log_probs)
            assert numpy.exp(log_probs).sum() == pytest.approx(1)
            total -= log_probs[0, next_token]
    assert total / len(packed_targets) == pytest.approx(float(loss), abs=1e-10)


def test_reports_loss_and_accuracy_weighted_by_tokens(device):
    model, _ = make_model('float64')
    model.to_device(device)
    features, inputs, targets, packed_inputs, packed_targets, batch_sizes = make_batch(
        [5, 2], 6, 11, 'float64'
    )
    features, packed_inputs, packed_targets = device.send((features, packed_inputs, packed_targets))
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    with reporter:
        loss = model(features, packed_inputs, packed_targets, batch_sizes)

    n_correct = 0
    for feature, tokens, next_tokens in zip(features, inputs, targets):
        state = model.start(feature[None])
        for token, next_token in zip(tokens, next_tokens):
            log_probs, state = model.step(device.send(numpy.array([token])), state)
            n_correct += to_cpu(log_probs).argmax() == next_token
    assert reporter.observation['main/loss'] == (loss.array, 9)
    accuracy, weight = reporter.observation['main/accuracy']
    assert float(accuracy) == pytest.approx(n_correct / 9)
    assert weight == 9


def test_loss_reduction_sentence_sums_over_the_tokens_of_a_caption(device):
    model, plain = make_model('float64')
    model.to_device(device)
    features, inputs, targets, *_ = make_batch([5, 2, 1], 6, 11, 'float64')
    model.loss_reduction = 'sentence'
    with chainer.using_config('dtype', numpy.dtype('float64')):
        captions = zip(features, inputs, targets)
        expected = sum(plain.caption_loss(*caption).array for caption in captions) / 3
    loss = model(*packed_batch(device, [5, 2, 1])).array
    assert float(loss) == pytest.approx(float(expected))


def test_reported_loss_is_without_label_smoothing(device):
    model, _ = make_model('float64')
    model.to_device(device)
    batch = packed_batch(device, [5, 2, 1])
    plain_loss = float(model(*batch).array)
    model.label_smoothing = 0.1
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    with reporter:
        assert abs(float(model(*batch).array) - plain_loss) > 1e-4
    assert float(reporter.observation['main/loss'][0]) == plain_loss


def test_network_standardizes_features(device):
    model, _ = make_model('float64')
    model.to_device(device)
    features, *packed = packed_batch(device, [5, 2])
    expected = model((features - 2) * 3, *packed).array
    model.feature_mean[:], model.feature_scale[:] = 2, 3
    loss = model(features, *packed).array
    assert float(loss) == pytest.approx(float(expected), abs=1e-12)


def test_rows_choose_the_features_of_the_captions(device):
    model, _ = make_model('float64')
    model.to_device(device)
    features, *packed = packed_batch(device, [5, 2, 1])
    rows = device.send(numpy.array([2, 0, 2], 'int32'))
    expected = model(features[rows], *packed).array
    loss = model(features, *packed, rows).array
    assert float(loss) == pytest.approx(float(expected), abs=1e-12)


def test_dropout_acts_in_training_only(device):
    model, _ = make_model('float64', dropout=0.5)
    model.to_device(device)
    batch = packed_batch(device, [5, 2])
    with chainer.using_config('train', True):
        assert float(model(*batch).array) != float(model(*batch).array)
    with chainer.using_config('train', False):
        assert float(model(*batch).array) == float(model(*batch).array)


def test_gradients_with_dropout_match_numerical_gradients(device):
    model, _ = make_model('float64', dropout=0.4)
    model.to_device(device)
    batch = packed_batch(device, [4, 3, 1])

    def loss():
        numpy.random.seed(5)
        return model(*batch)

    model.cleargrads()
    loss().backward()
    for param in model.params():
        grad = to_cpu(param.grad)
        index = numpy.unravel_index(abs(grad).argmax(), param.shape)
        value, step = float(param.array[index]), 1e-6
        param.array[index] = value + step
        above = float(loss().array)
        param.array[index] = value - step
        below = float(loss().array)
        param.array[index] = value
        assert (above - below) / (2 * step) == pytest.approx(grad[index], rel=1e-5)
