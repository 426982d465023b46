"""Adam with few passes over memory."""

from collections import defaultdict

import chainer
import numpy
from chainer.optimizers.adam import AdamRule

from models.fast.kernels import BLOCK_SIZE, launch_blocks, load_kernel

SOURCE = 'lib/training/adam.cu'
# Five arrays of this many float32 fit into a second-level cache; few enough passes that
# Python takes little of the time.
BLOCK = 1 << 15
# Parameters that one launch updates.
MAX_PARAMETERS = 64
# ``struct Parameters`` of adam.cu.
KERNEL_ARGUMENT = numpy.dtype(
    [(name, 'int64', MAX_PARAMETERS) for name in ('values', 'grads', 'm', 'v', 'ends')]
)
# Values that each thread updates, to amortize the launch of its block.
VALUES_PER_THREAD = 4


class Adam(chainer.optimizers.Adam):
    """Chainer's Adam in blocks on a CPU, and in one kernel for all parameters on a GPU."""

    def __init__(self, **hyperparameters):
        super().__init__(**hyperparameters)
        self._pending = []

    def create_update_rule(self):
        return FusedAdamRule(self.hyperparam, self._pending)

    def call_hooks(self, timing='pre'):
        """Updates the parameters on a GPU between the two kinds of hooks."""
        if timing == 'post':
            groups = defaultdict(list)
            for param in self._pending:
                groups[param.dtype, _coefficients(param.update_rule)].append(param)
            for (_, coefficients), params in groups.items():
                for start in range(0, len(params), MAX_PARAMETERS):
                    _update_on_gpu(params[start : start + MAX_PARAMETERS], coefficients)
        self._pending.clear()
        super().call_hooks(timing)


class FusedAdamRule(AdamRule):
    """Chainer's rule, on a CPU bit for bit and in a third of the time.

    Chainer's passes over whole arrays read and write memory about twenty times for each
    parameter. Block by block, all but the first and the last access hit a cache, so that four
    reads and three writes remain.

    Args:
        parent_hyperparam (chainer.optimizer.Hyperparameter): Of the optimizer.
        pending (list of chainer.Parameter): Parameters on a GPU are added to it; the optimizer
            updates them.
    """

    def __init__(self, parent_hyperparam, pending):
        super().__init__(parent_hyperparam)
        self._pending = pending

    def update_core_gpu(self, param):
        if self._is_variant(param):
            super().update_core_gpu(param)
        else:
            self._pending.append(param)

    def update_core_cpu(self, param):
        if self._is_variant(param):
            super().update_core_cpu(param)
            return
        hyperparam = self.hyperparam
        arrays = [
            numpy.reshape(array, -1)
            for array in (param.grad, param.data, self.state['m'], self.state['v'])
        ]
        buffer = numpy.empty(BLOCK, param.dtype)
        for start in range(0, param.size, BLOCK):
            grad, values, m, v = (array[start : start + BLOCK] for array in arrays)
            step = buffer[: len(grad)]
            # m += (1 - beta1) * (grad - m)
            numpy.subtract(grad, m, out=step)
            step *= 1 - hyperparam.beta1
            m += step
            # v += (1 - beta2) * (grad ** 2 - v)
            numpy.multiply(grad, grad, out=step)
            step -= v
            step *= 1 - hyperparam.beta2
            v += step
            # values -= eta * alpha_t / (sqrt(v) + eps) * m
            numpy.sqrt(v, out=step)
            step += hyperparam.eps
            numpy.divide(self.alpha_t, step, out=step)
            step *= m
            step *= hyperparam.eta
            values -= step

    def _is_variant(self, param):
        """Whether Chainer's own code is needed."""
        hyperparam = self.hyperparam
        return (
            param.grad is None
            or hyperparam.amsgrad
            or hyperparam.adabound
            or hyperparam.weight_decay_rate
            or param.dtype not in ('float32', 'float64')
            or not param.array.flags.c_contiguous
        )


def _coefficients(rule):
    """Returns what the kernel takes of a rule, all floats."""
    hyperparam = rule.hyperparam
    return (
        float(hyperparam.eta * rule.alpha_t),
        float(1 - hyperparam.beta1),
        float(1 - hyperparam.beta2),
        float(hyperparam.eps),
    )


def _update_on_gpu(params, coefficients):
    """Updates parameters of one type with one set of coefficients."""
    xp = params[0].xp
    # Kept until the launch, since a copy may have been made.
    grads = [xp.ascontiguousarray(param.grad) for param in params]
    states = [param.update_rule.state for param in params]
    argument = numpy.zeros((), KERNEL_ARGUMENT)
    for name, arrays in (
        ('values', [param.array for param in params]),
        ('grads', grads),
        ('m', [state['m'] for state in states]),
        ('v', [state['v'] for state in states]),
    ):
        argument[name][: len(params)] = [array.data.ptr for array in arrays]
    ends = numpy.cumsum([param.size for param in params])
    argument['ends'][: len(params)] = ends
    size = int(ends[-1])
    with chainer.using_device(params[0].device):
        launch_blocks(
            load_kernel(SOURCE, 'adam', T=params[0].dtype, MAX_PARAMETERS=MAX_PARAMETERS),
            -(-size // (VALUES_PER_THREAD * BLOCK_SIZE)),
            argument[()],
            size,
            *coefficients,
        )
