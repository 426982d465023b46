// A reduction over the threads of a block, whose number is a multiple of 32 and at most 1,024.
// All threads get the result.

template <class Value, class Operation>
__device__ Value reduce_block(Value value, Operation operation) {
  __shared__ Value of_warp[32];
  for (int offset = 16; offset; offset /= 2) {
    value = operation(value, __shfl_xor_sync(~0u, value, offset));
  }
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = of_warp[0];
  for (int warp = 1; warp < blockDim.x / 32; ++warp) value = operation(value, of_warp[warp]);
  __syncthreads();
  return value;
}

template <class Value>
__device__ Value block_sum(Value value) {
  return reduce_block(value, [](Value a, Value b) { return a + b; });
}

template <class Value>
__device__ Value block_max(Value value) {
  return reduce_block(value, [](Value a, Value b) { return a > b ? a : b; });
}
