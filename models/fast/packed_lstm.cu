// The nonlinear part of a step of packed_lstm.py. Block (x, y) computes some cells of sequence x.
#include "models/fast/random.cuh"

__device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

// Activates the gates of n sequences (n, 4H) in place, after adding the biases (4H,), unless null;
// writes the cells (n, H), the hidden states of the n_next sequences that go on (n_next, H) and,
// unless output is null, those of all after dropout (n, H), beginning at a position of its mask.
extern "C" __global__ void activate(
    T* gates, const T* b, const T* previous_c, T* c, T* next_h, T* output, long long hidden_size,
    long long n_next, Dropout dropout, long long position) {
  const long long row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= hidden_size) return;
  const long long i = row * hidden_size + column;
  T* gate = gates + 4 * row * hidden_size + column;
  if (b) {
    for (int k = 0; k < 4; ++k) gate[k * hidden_size] += b[k * hidden_size + column];
  }
  const T in = sigmoid(gate[0]), forget = sigmoid(gate[hidden_size]);
  const T out = sigmoid(gate[2 * hidden_size]), cell = tanh(gate[3 * hidden_size]);
  gate[0] = in;
  gate[hidden_size] = forget;
  gate[2 * hidden_size] = out;
  gate[3 * hidden_size] = cell;
  const T new_c = in * cell + (previous_c ? forget * previous_c[i] : 0);
  const T h = out * tanh(new_c);
  c[i] = new_c;
  if (row < n_next) next_h[i] = h;
  if (output) output[i] = h * dropout(position + i);
}

// Writes the gradients of the gates before they were activated (n, 4H). grad_c (n, H) holds the
// gradients of the cells of the n_next sequences that go on, and becomes that of the previous
// cells; grad_h (n_next, H) are the gradients of their hidden states from the next step.
extern "C" __global__ void activate_backward(
    const T* gates, const T* previous_c, const T* c, const T* grad_output, const T* grad_h,
    T* grad_c, T* grad_gates, long long hidden_size, long long n_next, Dropout dropout,
    long long position) {
  const long long row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= hidden_size) return;
  const long long i = row * hidden_size + column;
  const long long begin = 4 * row * hidden_size + column;
  const T in = gates[begin], forget = gates[begin + hidden_size];
  const T out = gates[begin + 2 * hidden_size], cell = gates[begin + 3 * hidden_size];
  const T tanh_c = tanh(c[i]);
  T through_h = grad_output ? grad_output[i] * dropout(position + i) : 0;
  T through_c = 0;
  if (row < n_next) {
    through_h += grad_h[i];
    through_c = grad_c[i];
  }
  through_c += through_h * out * (1 - tanh_c * tanh_c);
  T* grad = grad_gates + begin;
  grad[0] = through_c * cell * in * (1 - in);
  grad[hidden_size] = previous_c ? through_c * previous_c[i] * forget * (1 - forget) : 0;
  grad[2 * hidden_size] = through_h * tanh_c * out * (1 - out);
  grad[3 * hidden_size] = through_c * in * (1 - cell * cell);
  grad_c[i] = through_c * forget;
}
