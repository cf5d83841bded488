// The softmax-head kernels of heads/cuda run by the SIMT shim, for tests: a Python module without torch.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "../heads/cuda/fit_api.h"

namespace py = pybind11;

namespace {

using tlplat::gpu::Grid;
using tlplat::gpu::Limits;

// What the launches of the C interface, which takes no limits, go by.
Limits& fit_limits() {
  static Limits limits{3, 200 << 10, false, 1 << 20};
  return limits;
}

// Launches under the shim; "device" memory is the process's own.
struct ShimBackend {
  struct Scope {
    explicit Scope(int) {}
  };

  using Graph = std::function<void()>;

  ShimBackend() = default;
  ShimBackend(int, void*) {}
  Limits limits() const { return fit_limits(); }

  template <class Kernel, class Args>
  void launch(Grid grid, int threads, const Args& args, tlplat::gpu::Start = tlplat::gpu::Start::kAfter) {
    if (threads > Kernel::kMaxThreads) throw simt::Fault("more threads than the kernel allows");
    simt::launch({int(grid.x), int(grid.y), int(grid.z)}, threads, size_t(Kernel::shared_bytes(args)),
                 [&](unsigned char* shared) { Kernel::run(args, shared); });
  }
  void upload(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, int64_t bytes) { std::memcpy(to, from, size_t(bytes)); }
  void zero(void* to, int64_t bytes) { std::memset(to, 0, size_t(bytes)); }
  Graph record(int64_t, std::function<void()> launches) { return launches; }
};

// Workspace and results start as NaN: what a kernel forgets to write is seen.
std::vector<unsigned char> workspace(int64_t bytes) { return std::vector<unsigned char>(size_t(bytes), 0xff); }

template <class T>
py::array_t<T> blank(std::vector<py::ssize_t> shape) {
  py::array_t<T> out(std::move(shape));
  std::memset(out.mutable_data(), 0xff, size_t(out.nbytes()));
  return out;
}

template <class T>
using Maybe = std::optional<py::array_t<T, py::array::c_style>>;

template <class T>
const T* data_of(const Maybe<T>& a) {
  return a ? a->data() : nullptr;
}

template <class T>
tlplat::gpu::Rows<T> rows_of(const py::array& z, int dtype) {
  tlplat::gpu::Rows<T> rows{};
  rows.z = z.data(), rows.z_dtype = dtype, rows.n = z.shape(0), rows.d = z.shape(1);
  rows.z_stride = z.strides(0) / z.itemsize();
  return rows;
}

template <class T>
py::tuple loss(const py::array& z, int dtype, const py::array_t<int64_t>& y, const py::array_t<T>& w, const Maybe<T>& bias,
               const Maybe<T>& class_weight, const Maybe<T>& sample_weight, double smoothing, int64_t ignore_index,
               int64_t reduction, bool need_grad, const Limits& limits) {
  auto rows = rows_of<T>(z, dtype);
  rows.y = y.data(), rows.ignore_index = ignore_index, rows.class_weight = data_of(class_weight);
  rows.smoothing = T(smoothing), rows.weight = data_of(sample_weight);
  const int64_t classes = w.shape(0);
  tlplat::gpu::OneHead<T> head(limits, rows, classes, need_grad);
  auto space = workspace(head.bytes());
  auto found = blank<T>(reduction == 0 ? std::vector<py::ssize_t>{z.shape(0)} : std::vector<py::ssize_t>{});
  auto grad_w = blank<T>({need_grad ? classes : 0, z.shape(1)}), grad_b = blank<T>({need_grad ? classes : 0});
  ShimBackend backend;
  head.loss(backend, space.data(), w.data(), data_of(bias), reduction, found.mutable_data(), grad_w.mutable_data(),
            grad_b.mutable_data());
  return py::make_tuple(found, grad_w, grad_b);
}

template <class T>
py::array_t<T> predict(const py::array& z, int dtype, const py::array_t<T>& w, const Maybe<T>& bias, const Limits& limits) {
  tlplat::gpu::OneHead<T> head(limits, rows_of<T>(z, dtype), w.shape(0), false);
  auto space = workspace(head.bytes());
  auto found = blank<T>({z.shape(0), w.shape(0)});
  ShimBackend backend;
  head.predict(backend, space.data(), w.data(), data_of(bias), found.mutable_data());
  return found;
}

// The order lies between margins: a kernel whose barrier was taken away writes beside it.
py::array_t<int32_t> epoch_order(int64_t n, int64_t seed, int64_t epoch, int32_t segments) {
  constexpr int64_t kMargin = 1 << 16;
  std::vector<int32_t> count(size_t(segments), -1), order(size_t(n + 2 * kMargin), -1);
  const tlplat::gpu::OrderArgs p{&seed, &epoch, n, count.data(), order.data() + kMargin, segments};
  ShimBackend backend;
  backend.launch<tlplat::gpu::OrderCountKernel>({segments, 1, 1}, tlplat::gpu::kOrderThreads, p);
  backend.launch<tlplat::gpu::OrderWriteKernel>({segments, 1, 1}, tlplat::gpu::kOrderThreads, p);
  return py::array_t<int32_t>(n, order.data() + kMargin);
}

template <class T>
void define(py::module_& m, const char* suffix) {
  using namespace py::literals;
  m.def((std::string("loss_") + suffix).c_str(), &loss<T>);
  m.def((std::string("predict_") + suffix).c_str(), &predict<T>);
}

}  // namespace

TLPLAT_DEFINE_FIT_API(ShimBackend)

PYBIND11_MODULE(simt_heads, m) {
  py::register_exception<simt::Fault>(m, "Fault");
  py::class_<Limits>(m, "Limits")
      .def(py::init<int, int64_t, bool, int64_t>(), py::arg("sms") = 3, py::arg("shared") = 200 << 10,
           py::arg("scalar") = false, py::arg("chunk_elements") = 1 << 20);
  m.def("epoch_order", &epoch_order);
  m.def("set_fit_limits", [](const Limits& limits) { fit_limits() = limits; });
  m.def("set_seed", &simt::set_seed);
  m.def("drop_barrier", &simt::drop_barrier);
  m.def("barriers_met", &simt::barriers_met);
  define<float>(m, "f32");
  define<double>(m, "f64");
}
