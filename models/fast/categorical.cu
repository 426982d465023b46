// The kernel of categorical.py.
#include "models/fast/random.cuh"
#include "models/fast/reductions.cuh"

// Orders as a value does and, among equal values, prefers the lower index.
__device__ unsigned long long sortable(float value, long long index) {
  const unsigned bits = __float_as_uint(value);
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (unsigned long long)ordered << 32 | (0xFFFFFFFFu - (unsigned)index);
}

// Draws a token for each block from the probabilities with logits `rows[block]` of (m, V), or of its
// own row if rows is null: the token with the largest logit is that of a random one if noise of
// Gumbel's distribution is added to each (Gumbel, 1954).
extern "C" __global__ void sample(
    const T* logits, const long long* rows, int* indices, long long n_tokens,
    unsigned long long key) {
  const long long sample = blockIdx.x;
  logits += (rows ? rows[sample] : sample) * n_tokens;
  unsigned long long best = 0;
  for (long long i = threadIdx.x; i < n_tokens; i += blockDim.x) {
    // The negative logarithm of a uniform number, exact where that is nearly 1.
    const float exponential = -log1p(-uniform(key, sample * n_tokens + i));
    const unsigned long long candidate = sortable((float)logits[i] - log(exponential), i);
    if (candidate > best) best = candidate;
  }
  best = block_max(best);
  if (threadIdx.x == 0) indices[sample] = 0xFFFFFFFFu - (unsigned)best;
}
