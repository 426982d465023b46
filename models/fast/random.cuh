// Random numbers and dropout without a generator's state: each is a function of a key, which the
// host draws, and of a position in an array.

// A word of Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011).
__device__ unsigned philox(unsigned long long key, unsigned long long position) {
  unsigned counter[4] = {(unsigned)position, (unsigned)(position >> 32), 0, 0};
  unsigned key_0 = (unsigned)key, key_1 = (unsigned)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const unsigned long long product_0 = 0xD2511F53ull * counter[0];
    const unsigned long long product_1 = 0xCD9E8D57ull * counter[2];
    counter[0] = (unsigned)(product_1 >> 32) ^ counter[1] ^ key_0;
    counter[2] = (unsigned)(product_0 >> 32) ^ counter[3] ^ key_1;
    counter[1] = (unsigned)product_1;
    counter[3] = (unsigned)product_0;
    key_0 += 0x9E3779B9u;
    key_1 += 0xBB67AE85u;
  }
  return counter[0];
}

// A random number from 0 to 1, 0 excluded.
__device__ float uniform(unsigned long long key, unsigned long long position) {
  return (philox(key, position) + 0.5f) / 4294967296.0f;
}

// Dropout: 0 with probability threshold / 2^32, otherwise scale.
struct Dropout {
  unsigned long long key;
  double scale;
  unsigned threshold;

  __device__ T operator()(unsigned long long position) const {
    return threshold && philox(key, position) < threshold ? 0 : (T)scale;
  }
};
