// Kernels of lstm_inputs.py.
#include "models/fast/random.cuh"

// Standardizes features (B, D) and applies dropout.
extern "C" __global__ void standardize(
    const T* features, const T* mean, const T* scale, T* out, long long feature_size,
    Dropout dropout) {
  const long long row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= feature_size) return;
  const long long i = row * feature_size + column;
  out[i] = (features[i] - mean[column]) * scale[column] * dropout(i);
}

// Adds biases (E,) to the projected images, the first B rows of x (B + R, E); writes the embeddings
// of R tokens into the others; and applies dropout to all.
extern "C" __global__ void embed(
    T* x, const T* b, const T* W, const int* tokens, long long n_images, long long embed_size,
    Dropout dropout) {
  const long long row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= embed_size) return;
  const long long i = row * embed_size + column;
  const T value =
      row < n_images ? x[i] + b[column] : W[tokens[row - n_images] * embed_size + column];
  x[i] = value * dropout(i);
}

// Rows that embed_backward marks at a time, 32 in a word.
#define WORDS 1024

// Adds up rows of the gradients of x (B + R, E) in an order that is always the same: block v, for
// v < V, those of token v, and block V those of the images, whose sum is the gradient of the biases.
// Block V also writes the images' gradients before dropout (B, E).
extern "C" __global__ void embed_backward(
    const T* grad_x, const int* tokens, T* grad_W, T* grad_b, T* grad_images, long long n_images,
    long long n_tokens, long long embed_size, Dropout dropout) {
  const bool of_images = blockIdx.x == gridDim.x - 1;
  const long long first_row = of_images ? 0 : n_images;
  const long long n_rows = of_images ? n_images : n_tokens;
  T* sums = of_images ? grad_b : grad_W + blockIdx.x * embed_size;
  if (n_rows == 0) {
    for (long long column = threadIdx.x; column < embed_size; column += blockDim.x) sums[column] = 0;
  }
  __shared__ unsigned is_mine[WORDS];
  for (long long start = 0; start < n_rows; start += 32 * WORDS) {
    const long long left = (n_rows - start + 31) / 32, n_words = left < WORDS ? left : WORDS;
    for (long long word = threadIdx.x; word < n_words; word += blockDim.x) {
      unsigned bits = 0;
      for (int bit = 0; bit < 32; ++bit) {
        const long long row = start + 32 * word + bit;
        bits |= (unsigned)(row < n_rows && (of_images || tokens[row] == blockIdx.x)) << bit;
      }
      is_mine[word] = bits;
    }
    __syncthreads();
    for (long long column = threadIdx.x; column < embed_size; column += blockDim.x) {
      T sum = start ? sums[column] : 0;
      for (long long word = 0; word < n_words; ++word) {
        unsigned bits = is_mine[word];
        while (bits) {
          // Eight rows at a time, so that their reads overlap.
          T values[8];
#pragma unroll
          for (int k = 0; k < 8; ++k) {
            values[k] = 0;
            if (bits) {
              const long long row = first_row + start + 32 * word + __ffs(bits) - 1;
              const long long i = row * embed_size + column;
              values[k] = grad_x[i] * dropout(i);
              if (of_images) grad_images[i] = values[k];
              bits &= bits - 1;
            }
          }
#pragma unroll
          for (int k = 0; k < 8; ++k) sum += values[k];
        }
      }
      sums[column] = sum;
    }
    __syncthreads();
  }
}
