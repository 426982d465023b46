// Kernels of linear_softmax_cross_entropy.py.
#include "models/fast/reductions.cuh"

// Replaces products (R, V) by the exponentials of the logits, a block for each row, and writes the
// sums of the exponentials (R,) and what is reported: the smoothed loss, the loss and the accuracy.
// of_rows (3, R) is room for the terms of each row.
extern "C" __global__ void exponentiate(
    T* logits, const T* b, const int* targets, T* sums, T* of_rows, T* results, unsigned* n_done,
    long long n_tokens, double label_smoothing, double divisor) {
  const long long row = blockIdx.x, n_rows = gridDim.x;
  logits += row * n_tokens;
  const T target = logits[targets[row]] + b[targets[row]];
  T max = target, sum = 0;
  for (long long i = threadIdx.x; i < n_tokens; i += blockDim.x) {
    const T logit = logits[i] + b[i];
    if (logit > max) max = logit;
    sum += logit;
  }
  max = block_max(max);
  const T mean = label_smoothing ? block_sum(sum) / n_tokens : 0;
  sum = 0;
  for (long long i = threadIdx.x; i < n_tokens; i += blockDim.x) {
    logits[i] = exp(logits[i] + b[i] - max);
    sum += logits[i];
  }
  sum = block_sum(sum);

  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    sums[row] = sum;
    const T loss = log(sum) - (target - max);
    of_rows[row] = loss + (label_smoothing ? (T)label_smoothing * (target - mean) : 0);
    of_rows[n_rows + row] = loss;
    of_rows[2 * n_rows + row] = target == max;
    __threadfence();
    is_last = atomicAdd(n_done, 1u) == n_rows - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  // The block that finishes last adds up the terms of all rows, always in the same order.
  for (int k = 0; k < 3; ++k) {
    const volatile T* terms = of_rows + k * n_rows;
    double total = 0;
    for (long long i = threadIdx.x; i < n_rows; i += blockDim.x) total += terms[i];
    total = block_sum(total);
    if (threadIdx.x == 0) results[k] = total / (k ? n_rows : divisor);
  }
  if (threadIdx.x == 0) *n_done = 0;
}

// Replaces the exponentials (R, V) by the gradients of the logits and writes those of the biases
// (V,). A block of 32 x 32 threads works on 32 tokens.
extern "C" __global__ void grad_logits(
    T* exponentials, const T* sums, const int* targets, const T* grad_loss, T* grad_b,
    long long n_rows, long long n_tokens, double label_smoothing, double divisor) {
  const long long token = 32ll * blockIdx.x + threadIdx.x;
  const T scale = *grad_loss / divisor;
  T total = 0;
  if (token < n_tokens) {
    for (long long row = threadIdx.y; row < n_rows; row += 32) {
      T grad = exponentials[row * n_tokens + token] * (scale / sums[row]);
      if (label_smoothing) grad -= scale * (T)label_smoothing / n_tokens;
      if (token == targets[row]) grad -= scale * (T)(1 - label_smoothing);
      exponentials[row * n_tokens + token] = grad;
      total += grad;
    }
  }
  __shared__ T totals[32][33];
  totals[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y || token >= n_tokens) return;
  for (int y = 1; y < 32; ++y) total += totals[y][threadIdx.x];
  grad_b[token] = total;
}
