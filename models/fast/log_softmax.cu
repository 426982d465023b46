// The kernel of log_softmax.py.
#include "models/fast/reductions.cuh"

// Replaces products (n, V) by log-probabilities, a block for each row.
extern "C" __global__ void log_softmax(T* logits, const T* b, long long n_tokens) {
  logits += blockIdx.x * n_tokens;
  T max = logits[0] + b[0], sum = 0;
  for (long long i = threadIdx.x; i < n_tokens; i += blockDim.x) {
    const T logit = logits[i] + b[i];
    if (logit > max) max = logit;
  }
  max = block_max(max);
  for (long long i = threadIdx.x; i < n_tokens; i += blockDim.x) {
    sum += exp(logits[i] + b[i] - max);
  }
  const T shift = max + log(block_sum(sum));
  for (long long i = threadIdx.x; i < n_tokens; i += blockDim.x) logits[i] += b[i] - shift;
}
