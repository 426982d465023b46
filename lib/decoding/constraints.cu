// The kernel of constraints.py.

// Forbids the tokens that would complete an n-gram which a caption (m, length) contains already.
// Block (x, y) looks at some positions of caption x.
extern "C" __global__ void forbid_repeated_ngrams(
    T* log_probs, const int* captions, long long length, long long n_tokens, long long n) {
  const long long row = blockIdx.x, position = blockIdx.y * blockDim.x + threadIdx.x;
  if (position >= length - n + 1) return;
  const int* caption = captions + row * length;
  for (long long k = 0; k < n - 1; ++k) {
    if (caption[position + k] != caption[length - n + 1 + k]) return;
  }
  log_probs[row * n_tokens + caption[position + n - 1]] = -1 / (T)0;
}
