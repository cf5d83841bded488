// Which heads of a call to L-BFGS follow each other, and the moments of features that all share.
#include <cmath>
#include <cstring>
#include <map>
#include <type_traits>

#include "fit.h"

namespace tlplat {
namespace {

constexpr int64_t kSample = 1024;             // rows that tell the features' moments
constexpr int64_t kLeastColumns = 4;          // heads * classes of the paths over one set of rows: fewer are badly shaped products
constexpr int64_t kLargeColumns = 24;         // where z comes from memory, and must be worth the read
constexpr int64_t kLargeBytes = 8 << 20;
constexpr int64_t kPaths = 8;                 // at least, where one evaluation of one is less work than this:
constexpr double kShared = 4e7;

// A number for the weights of a head's rows.
template <class T>
uint64_t hash(const T* weight, int64_t n) {
  uint64_t found = 1469598103934665603ull;
  for (int64_t i = 0; i < n; ++i) {
    uint64_t bits = 0;
    std::memcpy(&bits, weight + i, sizeof(T));
    found = (found ^ bits) * 1099511628211ull;
  }
  return found;
}

template <class T>
std::vector<std::vector<int32_t>> same_rows(const TlplatHeadProblem& p) {
  std::vector<std::vector<int32_t>> found;
  const T* table = p.row_weight_stride ? static_cast<const T*>(p.row_weight) : nullptr;
  std::multimap<uint64_t, size_t> known;
  for (int32_t k = 0; k < p.heads; ++k) {
    const T* own = table ? table + k * p.row_weight_stride : nullptr;
    const uint64_t key = own ? hash(own, p.n) : 0;
    size_t at = found.size();
    for (auto [i, end] = known.equal_range(key); i != end && at == found.size(); ++i)
      if (!own || !std::memcmp(own, table + found[i->second][0] * p.row_weight_stride, size_t(p.n) * sizeof(T))) at = i->second;
    if (at == found.size()) found.emplace_back(), known.emplace(key, at);
    found[at].push_back(k);
  }
  return found;
}

template <class S, class T>
void widen(const void* z, int64_t from, int64_t d, T* to) {
  if constexpr (std::is_same_v<S, T>) return void(std::memcpy(to, static_cast<const S*>(z) + from, size_t(d) * sizeof(T)));
  for (int64_t j = 0; j < d; ++j) to[j] = T(static_cast<const S*>(z)[from + j]);
}

template <class T>
void row_of(const TlplatHeadProblem& p, int64_t row, T* to) {
  const int64_t from = row * p.z_stride;
  if (p.z_dtype == TLPLAT_F32) return widen<float, T>(p.z, from, p.d, to);
  if (p.z_dtype == TLPLAT_F64) return widen<double, T>(p.z, from, p.d, to);
  if (p.z_dtype == TLPLAT_F16) return widen<_Float16, T>(p.z, from, p.d, to);
  for (int64_t j = 0; j < p.d; ++j) {
    const uint32_t bits = uint32_t(static_cast<const uint16_t*>(p.z)[from + j]) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    to[j] = T(value);
  }
}

}  // namespace

std::vector<int32_t> number_paths(const TlplatHeadProblem& p) {
  auto groups = p.compute == TLPLAT_F64 ? same_rows<double>(p) : same_rows<float>(p);
  const int64_t storage = p.z_dtype == TLPLAT_F64 ? 8 : p.z_dtype == TLPLAT_F32 ? 4 : 2;
  const int64_t least = p.n * p.d * storage > kLargeBytes ? kLargeColumns : kLeastColumns;
  // Paths over one set of rows: columns enough for a product, and some for threads, unless they can share a path's rows. Not
  // as many as there are threads: results depend on the paths.
  const int64_t sets = int64_t(groups.size()), paths = 4.0 * double(p.n * p.d * p.classes) < kShared ? kPaths : 1;
  const int64_t each = std::max((least + p.classes - 1) / p.classes, (paths + sets - 1) / sets);
  std::vector<int32_t> path(size_t(p.heads));
  int32_t next = 0;
  for (auto& heads : groups) {
    std::stable_sort(heads.begin(), heads.end(), [&](int32_t i, int32_t j) { return p.decay[i] > p.decay[j]; });
    const int64_t count = int64_t(heads.size()), parts = std::min(each, (count + 1) / 2);
    for (int64_t i = 0; i < count; ++i) path[size_t(heads[size_t(i)])] = next + int32_t(i * parts / count);
    next += int32_t(parts);
  }
  return path;
}

std::vector<std::vector<int32_t>> paths_of(const TlplatHeadProblem& p) {
  std::vector<std::vector<int32_t>> found;
  std::map<int32_t, size_t> at;
  for (int32_t k = 0; k < p.heads; ++k) {
    const auto [i, fresh] = at.emplace(p.path ? p.path[k] : k, found.size());
    if (fresh) found.emplace_back();
    found[i->second].push_back(k);
  }
  for (auto& path : found)
    std::stable_sort(path.begin(), path.end(), [&](int32_t i, int32_t j) { return p.decay[i] > p.decay[j]; });
  return found;
}

// Over rows that count for some head, evenly spread, each with what it weighs for all.
template <class T>
void column_moments(const TlplatHeadProblem& p, double* centre, double* square) {
  const RowWeights<T> weights = training_rows<T>(p);
  const ActiveRows<T> rows(p, weights);
  const int64_t used = std::min(rows.count(), kSample), tables = !weights.weight ? 0 : weights.stride ? p.heads : 1;
  Buffer<T> x(p.d), first(p.d), middle(p.d), spread(p.d);
  Buffer<double> share(used);
  Buffer<int64_t> row(used);
  double total = 0;
  for (int64_t i = 0; i < used; ++i) {
    const int64_t at = i * rows.count() / used;
    row[i] = rows.order() ? rows.order()[at] : at;
    share[i] = tables ? 0 : 1;
    for (int64_t k = 0; k < tables; ++k) share[i] += double(weights.weight[k * weights.stride + row[i]]);
    total += share[i];
  }
  // About the first row, so that little is taken off the squares.
  const Kernels<T>& k = kernels<T>(p.isa);
  row_of(p, row[0], first.get());
  for (int64_t i = 0; i < used; ++i) {
    const T own = T(share[i] / total);
    row_of(p, row[i], x.get());
    k.blend(T(1), x.get(), T(-1), first.get(), x.get(), p.d);
    k.axpy(own, x.get(), middle.get(), p.d);
    k.squares(own, x.get(), spread.get(), p.d);
  }
  for (int64_t j = 0; j < p.d; ++j) {
    const double mean = middle[j];
    centre[j] = double(first[j]) + mean, square[j] = double(spread[j]) - mean * mean;
  }
  double mean = 0;
  for (int64_t j = 0; j < p.d; ++j) mean += square[j] / double(p.d);
  if (!(mean > 0) || !std::isfinite(mean)) mean = 1;
  double places = 0, scales = 0;
  for (int64_t j = 0; j < p.d; ++j) {
    if (!std::isfinite(centre[j])) centre[j] = 0;
    // A column that the sample does not move may move elsewhere.
    if (!(square[j] > 1e-12 * centre[j] * centre[j]) || !std::isfinite(square[j])) square[j] = mean;
    places += centre[j] * centre[j], scales += (square[j] - mean) * (square[j] - mean);
  }
  if (used == rows.count()) return;
  // James and Stein's: what a sample this small would find where columns are alike is taken off.
  const double noise = mean * double(p.d) / double(used);
  const double trust = std::max(1 - noise / places, 0.0), tell = std::max(1 - 2 * mean * noise / scales, 0.0);
  for (int64_t j = 0; j < p.d; ++j) centre[j] *= trust, square[j] = mean + tell * (square[j] - mean);
}
template void column_moments<float>(const TlplatHeadProblem&, double*, double*);
template void column_moments<double>(const TlplatHeadProblem&, double*, double*);

}  // namespace tlplat
