// The kernel of constraints.py.

// Forbids the tokens that would complete an n-gram which a caption (m, length) contains already.
// Each thread looks at one position of one caption.
extern "C" __global__ void forbid_repeated_ngrams(
    T* log_probs, const int* captions, long long n_captions, long long length, long long n_tokens,
    long long n) {
  const long long n_positions = length - n + 1;
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n_captions * n_positions) return;
  const long long row = i / n_positions, position = i % n_positions;
  const int* caption = captions + row * length;
  for (long long k = 0; k < n - 1; ++k) {
    if (caption[position + k] != caption[length - n + 1 + k]) return;
  }
  log_probs[row * n_tokens + caption[position + n - 1]] = -1 / (T)0;
}
