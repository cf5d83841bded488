// Vectors of the instruction set that this translation unit is compiled for (GCC and clang vector extensions), and the
// few functions on them that the kernels need. Included inside a namespace of its own per instruction set; no C++ library
// templates here, so that no code of a wide instruction set can be linked into a narrow one's place.

template <class T>
struct VecOf;

template <>
struct VecOf<float> {
  typedef float V __attribute__((vector_size(TLPLAT_VECTOR_BYTES)));
  typedef int32_t I __attribute__((vector_size(TLPLAT_VECTOR_BYTES)));
  typedef float Quarter __attribute__((vector_size(16)));
  static constexpr int kMantissa = 23, kBias = 127, kExpTerms = 7, kLogTerms = 5;
  static constexpr float kLowest = -80.0f;
};

template <>
struct VecOf<double> {
  typedef double V __attribute__((vector_size(TLPLAT_VECTOR_BYTES)));
  typedef int64_t I __attribute__((vector_size(TLPLAT_VECTOR_BYTES)));
  typedef double Quarter __attribute__((vector_size(16)));
  static constexpr int kMantissa = 52, kBias = 1023, kExpTerms = 13, kLogTerms = 11;
  static constexpr double kLowest = -700.0;
};

template <class T>
using Vec = typename VecOf<T>::V;

template <class T>
using Index = typename VecOf<T>::I;

template <class T>
constexpr int kWidth = TLPLAT_VECTOR_BYTES / int(sizeof(T));

template <class T>
static inline Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// The first n < width elements, then zeros; nothing beyond them is read.
template <class T>
static inline Vec<T> load_part(const T* p, int n) {
  Vec<T> v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
#if TLPLAT_VECTOR_BYTES == 64
template <>
inline Vec<float> load_part(const float* p, int n) {
  return (Vec<float>)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
}
template <>
inline Vec<double> load_part(const double* p, int n) {
  return (Vec<double>)_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p);
}
#elif TLPLAT_VECTOR_BYTES == 32
template <>
inline Vec<float> load_part(const float* p, int n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return (Vec<float>)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
}
template <>
inline Vec<double> load_part(const double* p, int n) {
  const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
  return (Vec<double>)_mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), lane));
}
#endif

template <class T>
static inline void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

template <class T>
static inline Vec<T> splat(T x) {
  return Vec<T>{} + x;
}

template <class T>
static inline T sum(Vec<T> v) {
  T total = 0;
  for (int i = 0; i < kWidth<T>; ++i) total += v[i];
  return total;
}

template <class T>
static inline Vec<T> larger(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}

// The 16-byte quarters of a wide vector, added up.
template <class T>
static inline typename VecOf<T>::Quarter fold(Vec<T> v) {
#if TLPLAT_VECTOR_BYTES == 64
  typedef T Half __attribute__((vector_size(32)));
  Half half[2];
  __builtin_memcpy(half, &v, sizeof v);
  const Half both = half[0] + half[1];
#else
  const Vec<T> both = v;
#endif
#if TLPLAT_VECTOR_BYTES >= 32
  typename VecOf<T>::Quarter part[2];
  __builtin_memcpy(part, &both, sizeof both);
  return part[0] + part[1];
#else
  return both;
#endif
}

// The sums of four vectors, stored side by side: out[i] = sum(v[i]) + offset. Four by four transposes inside the 16-byte
// quarters first, then the quarters are added up.
static inline void store_sums(float* out, const Vec<float> v[4], float offset) {
#if TLPLAT_VECTOR_BYTES == 64
#define TLPLAT_PAIRS(x, y, i, j)                                                                                      \
  __builtin_shufflevector(x, y, i, 16 + i, j, 16 + j, 4 + i, 20 + i, 4 + j, 20 + j, 8 + i, 24 + i, 8 + j, 24 + j, 12 + i, \
                          28 + i, 12 + j, 28 + j)
#define TLPLAT_HALVES(x, y, i, j) \
  __builtin_shufflevector(x, y, i, j, 16 + i, 16 + j, 4 + i, 4 + j, 20 + i, 20 + j, 8 + i, 8 + j, 24 + i, 24 + j, 12 + i, \
                          12 + j, 28 + i, 28 + j)
#elif TLPLAT_VECTOR_BYTES == 32
#define TLPLAT_PAIRS(x, y, i, j) __builtin_shufflevector(x, y, i, 8 + i, j, 8 + j, 4 + i, 12 + i, 4 + j, 12 + j)
#define TLPLAT_HALVES(x, y, i, j) __builtin_shufflevector(x, y, i, j, 8 + i, 8 + j, 4 + i, 4 + j, 12 + i, 12 + j)
#else
#define TLPLAT_PAIRS(x, y, i, j) __builtin_shufflevector(x, y, i, 4 + i, j, 4 + j)
#define TLPLAT_HALVES(x, y, i, j) __builtin_shufflevector(x, y, i, j, 4 + i, 4 + j)
#endif
  const Vec<float> ab = TLPLAT_PAIRS(v[0], v[1], 0, 1) + TLPLAT_PAIRS(v[0], v[1], 2, 3);
  const Vec<float> cd = TLPLAT_PAIRS(v[2], v[3], 0, 1) + TLPLAT_PAIRS(v[2], v[3], 2, 3);
  const auto all = fold<float>(TLPLAT_HALVES(ab, cd, 0, 1) + TLPLAT_HALVES(ab, cd, 2, 3)) + offset;
  __builtin_memcpy(out, &all, sizeof all);
}
#undef TLPLAT_PAIRS
#undef TLPLAT_HALVES

static inline void store_sums(double* out, const Vec<double> v[4], double offset) {
  for (int i = 0; i < 4; i += 2) {
    auto a = fold<double>(v[i]), b = fold<double>(v[i + 1]);
    auto both = __builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3) + offset;
    __builtin_memcpy(out + i, &both, sizeof both);
  }
}

// exp of x <= 0: 2^n * Taylor series on [-ln 2 / 2, ln 2 / 2]; below kLowest the result is that of kLowest (about 1e-35
// or 1e-304), NaN stays NaN.
template <class T>
static inline Vec<T> exp_negative(Vec<T> x) {
  using O = VecOf<T>;
  using I = typename O::I;
  const T magic = T(3ull << (O::kMantissa - 1));  // adding it rounds to an integer in the low bits
  const Vec<T> lowest = splat<T>(O::kLowest);
  x = x < lowest ? lowest : x;
  Vec<T> shifted = x * T(1.4426950408889634074) + magic;
  Vec<T> n = shifted - magic;
  const T high = sizeof(T) == 4 ? T(0.693359375) : T(6.93145751953125e-1);
  const T low = sizeof(T) == 4 ? T(-2.12194440054690583e-4) : T(1.42860682030941723212e-6);
  Vec<T> r = (x - n * high) - n * low;
  Vec<T> p = splat<T>(1);
  for (int i = O::kExpTerms; i >= 1; --i) p = p * r * T(1.0 / i) + T(1);
  I bits = __builtin_convertvector(n, I);
  bits = (bits + O::kBias) << O::kMantissa;
  Vec<T> power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return p * power;
}

// log of finite x >= 1, by the series of atanh around the nearest power of two.
template <class T>
static inline Vec<T> log_positive(Vec<T> x) {
  using O = VecOf<T>;
  using I = typename O::I;
  I bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const T root = T(1.41421356237309504880);
  I exponent = (bits >> O::kMantissa) - O::kBias;
  decltype(exponent[0] + 0) one = 1;
  I mantissa = (bits & ((one << O::kMantissa) - 1)) | (decltype(one)(O::kBias) << O::kMantissa);
  Vec<T> m;
  __builtin_memcpy(&m, &mantissa, sizeof m);
  I big = m > splat<T>(root);
  m = big ? m * T(0.5) : m;
  exponent = exponent - big;
  Vec<T> s = (m - T(1)) / (m + T(1)), s2 = s * s;
  Vec<T> p = splat<T>(T(1.0 / (2 * O::kLogTerms + 1)));
  for (int i = O::kLogTerms - 1; i >= 0; --i) p = p * s2 + T(1.0 / (2 * i + 1));
  Vec<T> result = __builtin_convertvector(exponent, Vec<T>) * T(0.69314718055994530942) + T(2) * s * p;
  return x == x ? result : x;
}
