// Adam's update (Kingma and Ba, arXiv:1412.6980) of up to MAX_PARAMETERS parameters, as adam.py
// defines.

struct Parameters {
  T* values[MAX_PARAMETERS];
  const T* grads[MAX_PARAMETERS];
  T* m[MAX_PARAMETERS];
  T* v[MAX_PARAMETERS];
  // Where each parameter would end if they stood one after another.
  long long ends[MAX_PARAMETERS];
};

extern "C" __global__ void adam(
    Parameters parameters, long long size, double step_size, double one_minus_beta1,
    double one_minus_beta2, double eps) {
  int k = 0;
  for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < size;
       at += (long long)gridDim.x * blockDim.x) {
    while (at >= parameters.ends[k]) ++k;
    const long long i = k ? at - parameters.ends[k - 1] : at;
    const T grad = parameters.grads[k][i];
    T& m = parameters.m[k][i];
    T& v = parameters.v[k][i];
    m += (T)one_minus_beta1 * (grad - m);
    v += (T)one_minus_beta2 * (grad * grad - v);
    parameters.values[k][i] -= (T)step_size * m / (sqrt(v) + (T)eps);
  }
}
