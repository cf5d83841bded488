// How a product is cut into blocks that fit the registers, and what a block fetches meanwhile. Included inside a namespace
// per instruction set, after vec.h.

// Classes that a block in registers holds: six by four accumulators where there are 32 registers, else three by four.
constexpr int kClassTile = TLPLAT_VECTOR_BYTES == 64 ? 6 : 3;

// Classes of the next block, so that blocks are even: 6 classes are 3 + 3.
static inline int even_share(int64_t left) {
  const int64_t blocks = (left + kClassTile - 1) / kClassTile;
  return int((left + blocks - 1) / blocks);
}

// Lines of the rows to come that a block fetches beside its own work, one of each a step. Without any it fetches weights
// that it has at hand, which costs next to nothing.
struct Fetch {
  const char* from[2];
  int64_t step;
  void operator()(int64_t i) const {
    __builtin_prefetch(from[0] + i * step);
    __builtin_prefetch(from[1] + i * step);
  }
};

// What a block of so many steps fetches: at most two parts, where a row is `parts` of them, while fewer than `until` rows
// are done.
static inline Fetch fetch(Ahead* ahead, int64_t until, int64_t steps, const void* idle) {
  const int64_t parts = (ahead->bytes + steps * 64 - 1) / (steps * 64), each = (ahead->bytes + parts - 1) / parts;
  Fetch f = {{static_cast<const char*>(idle), static_cast<const char*>(idle)}, (each + steps - 1) / steps};
  for (int k = 0; k < ahead->side_by_side && ahead->at < until; ++k) {
    f.from[k] = ahead->row[ahead->at] + ahead->part * each;
    if (++ahead->part >= parts) ahead->part = 0, ++ahead->at;
  }
  return f;
}
