// The kernels of constraints.py.

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

// Makes it costly to end a caption (m, length) with a token that is a bad ending.
extern "C" __global__ void penalize_bad_endings(
    T* log_probs, const int* captions, long long n_captions, long long length, long long n_tokens,
    double penalty, const bool* is_bad_ending) {
  const long long row = blockIdx.y * (long long)blockDim.x + threadIdx.x;
  if (row >= n_captions) return;
  const int eos = 1;
  if (is_bad_ending[captions[(row + 1) * length - 1]]) {
    log_probs[row * n_tokens + eos] -= (T)penalty;
  }
}

// Makes it costly to say up to max_n tokens of a caption (m, length) twice in a row, or the token
// before a conjunction again after it.
extern "C" __global__ void penalize_repetitions(
    T* log_probs, const int* captions, long long n_captions, long long length, long long n_tokens,
    double penalty, long long max_n, long long conjunction, long long other_conjunction) {
  const long long row = blockIdx.y * (long long)blockDim.x + threadIdx.x;
  if (row >= n_captions) return;
  const int* end = captions + (row + 1) * length;
  T* of_caption = log_probs + row * n_tokens;
  for (long long n = 1; n <= max_n && 2 * n - 1 <= length; ++n) {
    bool would_repeat = true;
    for (long long k = 1; k < n; ++k) would_repeat &= end[-k] == end[-k - n];
    if (would_repeat) of_caption[end[-n]] -= (T)penalty;
  }
  if (length > 1 && (end[-1] == conjunction || end[-1] == other_conjunction)) {
    of_caption[end[-2]] -= (T)penalty;
  }
}
