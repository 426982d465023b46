// The kernel of beam_gpu.py, which defines GROUP and the structs' layout, too.

#define INFINITE __int_as_float(0x7f800000)

// See class Slots of slots.py.
struct Slots {
  double* scores;
  double* log_probs;
  int* tokens;
  int* lengths;
  bool* is_finished;
  bool* is_unfinished;
  int* last_tokens;
  long long* state_rows;
};

// Working memory of the blocks. Rows are those of the log-probabilities, (n, V).
struct Scratch {
  T* group_values;    // (n, G), log-probability of the best token left in each group
  int* group_tokens;  // (n, G), that token, -1 if none is left
  int* row_tokens;    // (n,), the best token left
  double* keys;       // (B, 2M), of the best extensions of the rows, then of finished captions
  int* parents;       // (B, M), the old slot of each new one
};

// Whether a token comes before another one that has a lower log-probability or a higher index.
__device__ bool is_better(T value, int token, T other_value, int other_token) {
  return token >= 0 && (other_token < 0 || value > other_value ||
                        (value == other_value && token < other_token));
}

// Gives all threads of a warp the best of their tokens.
__device__ void best_of_warp(T& value, int& token) {
  for (int offset = 16; offset; offset /= 2) {
    const T other_value = __shfl_xor_sync(~0u, value, offset);
    const int other_token = __shfl_xor_sync(~0u, token, offset);
    if (is_better(other_value, other_token, value, token)) {
      value = other_value;
      token = other_token;
    }
  }
}

// Finds the best token of a group that comes after another one; all come after token -1.
__device__ void best_of_group(
    const T* log_probs, long long group, long long n_tokens, T after_value, int after_token,
    T& value, int& token) {
  value = -INFINITE;
  token = -1;
  for (int lane = threadIdx.x % 32; lane < GROUP; lane += 32) {
    const long long i = GROUP * group + lane;
    if (i >= n_tokens || !(log_probs[i] > -INFINITE)) continue;
    if (after_token >= 0 && !is_better(after_value, after_token, log_probs[i], i)) continue;
    if (is_better(log_probs[i], i, value, token)) {
      value = log_probs[i];
      token = i;
    }
  }
  best_of_warp(value, token);
}

// Finds the best token that is left in a row.
__device__ void best_of_row(const Scratch& scratch, long long row, int n_groups, T& value, int& token) {
  value = -INFINITE;
  token = -1;
  for (int group = threadIdx.x % 32; group < n_groups; group += 32) {
    const long long i = row * n_groups + group;
    if (is_better(scratch.group_values[i], scratch.group_tokens[i], value, token)) {
      value = scratch.group_values[i];
      token = scratch.group_tokens[i];
    }
  }
  best_of_warp(value, token);
}

// Returns how many of n sorted numbers are below a number.
__device__ long long count_below(const long long* numbers, long long n, long long number) {
  long long low = 0;
  while (low < n) {
    const long long middle = (low + n) / 2;
    if (numbers[middle] < number) low = middle + 1; else n = middle;
  }
  return low;
}

// Extends the captions of an image for each block. The image's unfinished captions have adjacent
// rows. All warps find the best token of each group of each row; then one warp picks the captions
// of the new beam, best first, and after each pick finds the next best token of its group and row.
extern "C" __global__ void extend(
    Slots slots, Slots extended, Scratch scratch, const T* log_probs, const T* ranked,
    const long long* unfinished, long long n_unfinished, long long width, long long n_tokens,
    long long max_length, long long n_steps, double length_normalization, long long top,
    long long eos) {
  const long long image = blockIdx.x, first_slot = image * width;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
  const int n_groups = (n_tokens + GROUP - 1) / GROUP;
  const long long begin = count_below(unfinished, n_unfinished, first_slot);
  const long long n_rows = count_below(unfinished, n_unfinished, first_slot + width) - begin;
  const double extended_norm = pow((double)(n_steps + 1), length_normalization);
  double* keys = scratch.keys + 2 * first_slot;
  int* parents = scratch.parents + first_slot;

  for (long long i = warp; i < n_rows * n_groups; i += n_warps) {
    const long long row = begin + i / n_groups, group = i % n_groups;
    T value;
    int token;
    best_of_group(ranked + row * n_tokens, group, n_tokens, 0, -1, value, token);
    if (lane == 0) {
      scratch.group_values[row * n_groups + group] = value;
      scratch.group_tokens[row * n_groups + group] = token;
    }
  }
  for (long long i = threadIdx.x; i < width; i += blockDim.x) {
    const long long slot = first_slot + i;
    if (i >= n_rows) keys[i] = -INFINITE;
    keys[width + i] = slots.is_finished[slot]
        ? slots.scores[slot] / pow((double)slots.lengths[slot], length_normalization)
        : -INFINITE;
  }
  __syncthreads();
  for (long long i = warp; i < n_rows; i += n_warps) {
    T value;
    int token;
    best_of_row(scratch, begin + i, n_groups, value, token);
    if (lane == 0) {
      scratch.row_tokens[begin + i] = token;
      keys[i] = (slots.scores[unfinished[begin + i]] + value) / extended_norm;
    }
  }
  __syncthreads();

  long long n_finished = 0;
  for (long long pick = 0; warp == 0 && pick < width; ++pick) {
    double key = -INFINITE;
    long long best = -1;
    for (long long i = lane; i < 2 * width; i += 32) {
      if (keys[i] > key) {
        key = keys[i];
        best = i;
      }
    }
    for (int offset = 16; offset; offset /= 2) {
      const double other_key = __shfl_xor_sync(~0u, key, offset);
      const long long other = __shfl_xor_sync(~0u, best, offset);
      if (other >= 0 && (best < 0 || other_key > key || (other_key == key && other < best))) {
        key = other_key;
        best = other;
      }
    }
    const bool is_vacant = best < 0 || n_finished >= top, is_extension = !is_vacant && best < width;
    const long long row = begin + best;
    const long long parent = is_vacant ? first_slot
        : is_extension ? unfinished[row] : first_slot + best - width;
    const int token = is_extension ? scratch.row_tokens[row] : eos;
    const bool is_finished = !is_vacant && token == eos;
    n_finished += is_finished;
    if (lane == 0) {
      const long long slot = first_slot + pick;
      parents[pick] = parent - first_slot;
      double score = is_vacant ? -INFINITE : slots.scores[parent], log_prob = slots.log_probs[parent];
      if (is_extension) {
        score += ranked[row * n_tokens + token];
        log_prob += log_probs[row * n_tokens + token];
      }
      extended.scores[slot] = score;
      extended.log_probs[slot] = log_prob;
      extended.lengths[slot] = is_extension ? n_steps + 1 : slots.lengths[parent];
      extended.is_finished[slot] = is_finished;
      extended.is_unfinished[slot] = is_extension && !is_finished;
      extended.last_tokens[slot] = token;
      extended.state_rows[slot] = is_extension ? row : 0;
      if (!is_vacant && !is_extension) keys[best] = -INFINITE;
    }
    if (is_extension) {
      T value;
      int next;
      const long long group = token / GROUP, at = row * n_groups + group;
      best_of_group(
          ranked + row * n_tokens, group, n_tokens, scratch.group_values[at], token, value, next);
      __syncwarp();
      if (lane == 0) {
        scratch.group_values[at] = value;
        scratch.group_tokens[at] = next;
      }
      __syncwarp();
      best_of_row(scratch, row, n_groups, value, next);
      if (lane == 0) {
        scratch.row_tokens[row] = next;
        keys[best] = next < 0 ? -INFINITE : (slots.scores[parent] + value) / extended_norm;
      }
    }
    __syncwarp();
  }
  __syncthreads();

  for (long long i = threadIdx.x; i < width * max_length; i += blockDim.x) {
    const long long slot = first_slot + i / max_length, at = i % max_length;
    const long long parent = first_slot + parents[i / max_length];
    extended.tokens[first_slot * max_length + i] =
        at < n_steps ? slots.tokens[parent * max_length + at]
        : at == n_steps ? extended.last_tokens[slot] : eos;
  }
}
