"""From features to captions: beam search, sampling, minimum Bayes risk and ensembles."""
