"""The rival people would write instead: PyTorch, nn.LSTM on packed sequences."""

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence


class PlainTorch(nn.Module):
    def __init__(self, feature_size, vocabulary_size, size, dropout=0.5):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.image_projection = nn.Linear(feature_size, size)
        self.embedding = nn.Embedding(vocabulary_size, size)
        self.lstm = nn.LSTM(size, size)
        self.output = nn.Linear(size, vocabulary_size)

    def forward(self, features, inputs, targets, batch_sizes):
        """Takes packed words, as our own model does; the loss is on real words only."""
        image = self.image_projection(self.dropout(features))
        x = self.dropout(torch.cat((image, self.embedding(inputs))))
        packed = PackedSequence(x, torch.tensor([len(features), *batch_sizes]))
        h = self.dropout(self.lstm(packed)[0].data[len(features):])
        return nn.functional.cross_entropy(self.output(h), targets)
