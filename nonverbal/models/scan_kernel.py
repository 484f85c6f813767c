"""The C++ kernel of the selective scan and of the convolution before it, built once on each machine and cached.

It is compiled by the system's compiler and called with ctypes, so that neither torch's headers nor its build system is
needed. The source is a string because transformers copies only Python files into a checkpoint. The functions that
describe the memory layout of tensors to this kernel and to Triton's are here too.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from torch import Tensor

FLAGS = ["-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-pthread", "-shared", "-fPIC"]
"""Flags of the compiler; none of them breaks NaN or infinity."""

COMPILE_SECONDS = 120
"""Time after which a compiler is assumed to hang."""

KERNEL_CHUNK, KERNEL_TILE = 32, 32
"""Steps between states that the compiled kernel stores, and a multiple of the channels that it processes together."""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | str:
    """Return the compiled kernel, or the reason why there is none."""
    try:
        return _load()
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)


def in_rows(value: Tensor) -> Tensor:
    """Return the tensor itself if its last dimension is contiguous, as in a slice of a projection; else a copy."""
    return value if value.stride(-1) == 1 else value.contiguous()


def strides(values: Iterable[Tensor]) -> list[int]:
    """Return each tensor's strides between rows and between steps."""
    return [stride for value in values for stride in value.stride()[:2]]


def _load() -> ctypes.CDLL:
    cached = _cached()
    try:
        return ctypes.CDLL(str(cached))
    except OSError:  # not built yet, or damaged
        pass
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built = _compile(Path(folder))
        # Load it before it is cached: a kernel that cannot be loaded is of no use.
        kernel = ctypes.CDLL(str(built))
        _keep(built, cached)
    return kernel


def _cached() -> Path:
    """Return the path of the built kernel. It depends on the processor, as machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    processor = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    key = hashlib.sha256("\n".join([KERNEL, *FLAGS, platform.machine(), *processor]).encode()).hexdigest()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a user without a home
        raise FileNotFoundError(f"{error} Set XDG_CACHE_HOME to a folder") from error
    return home / "nonverbal" / f"selective_scan-{key[:16]}.so"


def _compile(folder: Path) -> Path:
    """Build the kernel. Raises OSError without a compiler, or if it fails, and SubprocessError if it hangs."""
    found = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    try:
        compiler = shlex.split(os.environ.get("CXX", "")) or ([found] if found else [])
    except ValueError as error:
        raise OSError(f"the environment's CXX cannot be read ({error}): {os.environ['CXX']}") from error
    if not compiler:
        raise FileNotFoundError("no g++ or clang++ was found; install one, or set CXX to a C++ compiler")
    if shutil.which(compiler[0]) is None:
        raise FileNotFoundError(f"the environment's CXX names {compiler[0]}, which does not exist")
    source, built, said = folder / "scan.cpp", folder / "scan.so", folder / "said"
    source.write_text(KERNEL, encoding="utf-8")
    # To a file, because child processes of a killed compiler would keep a pipe open.
    with said.open("wb") as log:
        command = [*compiler, *FLAGS, str(source), "-o", str(built)]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=COMPILE_SECONDS)
    if ran.returncode:
        raise OSError(f"{' '.join(compiler)} failed:\n{said.read_text(errors='replace')[:2000]}")
    return built


def _keep(built: Path, cached: Path) -> None:
    """Move the kernel into the cache atomically. If the cache cannot be written, only this process uses it."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            os.replace(shutil.copy(built, folder), cached)
    except OSError as error:
        warnings.warn(
            f"every process has to build the selective scan's kernel, because it cannot be cached ({error}); set "
            "XDG_CACHE_HOME to a folder that can be written",
            stacklevel=6,
        )


KERNEL = r"""
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr long BYTES = 64;
#elif defined(__AVX__)
constexpr long BYTES = 32;
#else
constexpr long BYTES = 16;
#endif
constexpr long K = 32, R = 2;  // KERNEL_CHUNK; vectors of channels that are worked on together

typedef float VF __attribute__((vector_size(BYTES)));
typedef double VD __attribute__((vector_size(BYTES)));
typedef int32_t VI __attribute__((vector_size(BYTES)));
typedef uint32_t VU __attribute__((vector_size(BYTES)));
typedef uint16_t VH __attribute__((vector_size(BYTES / 2)));
struct bf16 { uint16_t bits; };
template <class T> struct Vector;
template <> struct Vector<float> { typedef VF V; };
template <> struct Vector<double> { typedef VD V; };
template <class T> constexpr long P = R * BYTES / sizeof(T);  // channels of a tile

// 2^(f + k), -0.5 <= f <= 0.5, to 1e-7 and exact for 0: minimax polynomial; shifted is k + 1.5 2^23, its low bits k
static inline VF power(VF f, VF shifted) {
  VF p = f * 1.32647272e-3f + 9.67151264e-3f;
  p = p * f + 5.55073374e-2f;
  p = p * f + 2.40222421e-1f;
  p = p * f + 6.93146978e-1f;
  p = p * f + 1.0f;
  return (VF)((VI)p + ((VI)shifted << 23));
}
// 2^x for x <= 0, NaN for NaN; not below 2^-126
static inline VF exp2_of(VF x) {
  x = x < -126.0f ? VF{} - 126.0f : x;
  const VF shifted = x + 12582912.0f;
  return power(x - (shifted - 12582912.0f), shifted);
}
// e^x for x <= 0, by Cody and Waite's reduction
static inline VF exp_of(VF x) {
  x = x < -87.0f ? VF{} - 87.0f : x;
  const VF shifted = x * 1.44269504f + 12582912.0f, k = shifted - 12582912.0f;
  return power(((x - k * 0.693359375f) + k * 2.12194440e-4f) * 1.44269504f, shifted);
}
// log(1 + e) = 2 artanh(e / (2 + e)) for 0 <= e <= 1
static inline VF log1p_of(VF e) {
  const VF s = e / (e + 2.0f), q = s * s;
  VF p = q * (1 / 15.0f) + 1 / 13.0f;
  p = p * q + 1 / 11.0f;
  p = p * q + 1 / 9.0f;
  p = p * q + 1 / 7.0f;
  p = p * q + 1 / 5.0f;
  p = p * q + 1 / 3.0f;
  return 2.0f * (s + s * q * p);
}
template <double f(double)> static inline VD each(VD x) {
  for (unsigned i = 0; i < BYTES / 8; i++) x[i] = f(x[i]);
  return x;
}
static inline VD exp2_of(VD x) { return each<std::exp2>(x); }
static inline VD exp_of(VD x) { return each<std::exp>(x); }
static inline VD log1p_of(VD x) { return each<std::log1p>(x); }

template <class V> static inline V softplus(V x) {
  const V zero{}, y = (x < zero ? zero : x) + log1p_of(exp_of(x < zero ? x : -x));
  return x == x ? y : x;
}
template <class V> static inline V sigmoid(V x) {
  const V zero{}, one = zero + 1, e = exp_of(x < zero ? x : -x), y = (x < zero ? e : one) / (one + e);
  return x == x ? y : x;
}
// What a gradient of x sigmoid(x) is to be multiplied by
template <class V> static inline V silu_slope(V x, V open) { return open * (x * (V{} + 1 - open) + 1); }

static inline void get(const float* from, VF& to) { std::memcpy(&to, from, BYTES); }
static inline void get(const double* from, VD& to) { std::memcpy(&to, from, BYTES); }
static inline void get(const bf16* from, VF& to) {
  VH half;
  std::memcpy(&half, from, sizeof half);
  to = (VF)(__builtin_convertvector(half, VU) << 16);
}
static inline void put(float* to, VF from) { std::memcpy(to, &from, BYTES); }
static inline void put(double* to, VD from) { std::memcpy(to, &from, BYTES); }
static inline void put(bf16* to, VF from) {
  const VU bits = (VU)from, even = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const VH half = __builtin_convertvector(from == from ? even : VU{} + 0x7FC0, VH);
  std::memcpy(to, &half, sizeof half);
}
// A tile of R vectors, of which the first count channels exist.
template <class I, class V> static inline void load(const I* from, long count, V* to) {
  constexpr long W = sizeof(V) / sizeof(V{}[0]);
  I padded[R * W] = {};
  if (count < R * W) from = (const I*)std::memcpy(padded, from, count * sizeof(I));
  for (long r = 0; r < R; r++) get(from + r * W, to[r]);
}
template <class I, class V> static inline void store(I* to, long count, const V* from) {
  constexpr long W = sizeof(V) / sizeof(V{}[0]);
  I padded[R * W];
  I* at = count < R * W ? padded : to;
  for (long r = 0; r < R; r++) put(at + r * W, from[r]);
  if (count < R * W) std::memcpy(to, padded, count * sizeof(I));
}

// An array (N, L, ...) whose last dimension lies in one piece.
template <class I> struct View {
  I* at;
  long row, step;
  View(void* at, long row, long step) : at((I*)at), row(row), step(step) {}
  I* operator()(long n, long t) const { return at + n * row + t * step; }
};

// Run tasks on threads of this call alone: no pool that a fork would break, no second OpenMP beside torch's.
template <class F> static int share(long tasks, long threads, F work) {
  std::atomic<long> next{0};
  std::atomic<int> failed{0};
  auto run = [&] {
    try {
      for (long task; (task = next++) < tasks;) work(task);
    } catch (...) { failed = 1; }
  };
  std::vector<std::thread> others;
  try {
    for (long i = 1; i < std::min(threads, tasks); i++) others.emplace_back(run);
  } catch (...) {}  // the threads that could be started do the work
  run();
  for (auto& other : others) other.join();
  return failed;
}

template <class I, class T> struct Scan {
  typedef typename Vector<T>::V V;
  const long G, N, L, D, S, chunks = (L + K - 1) / K, tiles = (D + P<T> - 1) / P<T>;
  const View<I> u, delta, z;
  const View<T> B, C;
  const T *A, *skip, *bias;
  T* kept;  // the states before each chunk, (N, chunks, tiles, S, P)
  const bool keep;

  Scan(const int64_t* n, void** p)
      : G(n[1]), N(n[2]), L(n[3]), D(n[4]), S(n[5]), u(p[0], n[6], n[7]), delta(p[1], n[8], n[9]),
        z(p[2], n[10], n[11]), B(p[3], n[12], n[13]), C(p[4], n[14], n[15]), A((T*)p[5]), skip((T*)p[6]),
        bias((T*)p[7]), kept((T*)p[8]), keep(n[16]) {}

  // What both passes read of a tile of channels in a chunk.
  struct Tile { V x[K][R], raw[K][R], step[K][R], into[K][R], y[K][R]; };
  void read(Tile& tile, long n, long t0, long steps, long d) const {
    V add[R], sk[R];
    load(bias + d, D - d, add);
    load(skip + d, D - d, sk);
    for (long t = 0; t < steps; t++) {
      load(u(n, t0 + t) + d, D - d, tile.x[t]);
      load(delta(n, t0 + t) + d, D - d, tile.raw[t]);
      for (long r = 0; r < R; r++) {
        tile.raw[t][r] += add[r];
        tile.step[t][r] = softplus(tile.raw[t][r]);
        tile.into[t][r] = tile.step[t][r] * tile.x[t][r];
        tile.y[t][r] = sk[r] * tile.x[t][r];
      }
    }
  }
  T* saved(long n, long chunk, long i) const { return kept + ((n * chunks + chunk) * tiles + i) * S * P<T>; }

  void forward(long n, long g, View<I> out) const {
    Tile tile;
    std::vector<V> state(tiles * S * R);
    for (long t0 = 0; t0 < L; t0 += K)
      for (long i = tiles * g / G; i < tiles * (g + 1) / G; i++) {
        const long d = i * P<T>, steps = std::min(K, L - t0);
        read(tile, n, t0, steps, d);
        for (long s = 0; s < S; s++) {
          V a[R], h[R];
          load(A + s * D + d, D - d, a);
          std::copy_n(&state[(i * S + s) * R], R, h);
          if (keep) store(saved(n, t0 / K, i) + s * P<T>, P<T>, h);
          const T *b = B(n, t0) + s, *c = C(n, t0) + s;
          for (long t = 0; t < steps; t++, b += B.step, c += C.step)
            for (long r = 0; r < R; r++) {
              h[r] = exp2_of(tile.step[t][r] * a[r]) * h[r] + tile.into[t][r] * *b;
              tile.y[t][r] += *c * h[r];
            }
          std::copy_n(h, R, &state[(i * S + s) * R]);
        }
        for (long t = 0; t < steps; t++) {
          V gate[R];
          load(z(n, t0 + t) + d, D - d, gate);
          for (long r = 0; r < R; r++) gate[r] = tile.y[t][r] * (gate[r] * sigmoid(gate[r]));
          store(out(n, t0 + t) + d, D - d, gate);
        }
      }
  }

  void backward(long n, long g, View<I> gout, View<I> du, View<I> ddelta, View<I> dz, T* dA, T* dB, T* dC, T* dskip,
                T* dbias) const {
    const long first = tiles * g / G, count = tiles * (g + 1) / G - first;
    Tile tile;
    V grad[K][R], gated[K][R], rate[K][R], from[K][R], was[K][R], by[K][R];
    // Of each state: what it receives from later steps, and A's gradient. Of B and C: lanes are summed up at the end.
    std::vector<V> reach(count * S * R), sumA(count * S * R), sums(2 * count * R), sumB(S * K), sumC(S * K);
    for (long chunk = chunks - 1; chunk >= 0; chunk--) {
      const long t0 = chunk * K, steps = std::min(K, L - t0);
      std::fill(sumB.begin(), sumB.end(), V{});
      std::fill(sumC.begin(), sumC.end(), V{});
      for (long i = 0; i < count; i++) {
        const long d = (first + i) * P<T>;
        read(tile, n, t0, steps, d);
        for (long t = 0; t < steps; t++) {
          V gate[R];
          load(gout(n, t0 + t) + d, D - d, grad[t]);
          load(z(n, t0 + t) + d, D - d, gate);
          for (long r = 0; r < R; r++) {
            const V open = sigmoid(gate[r]);
            gated[t][r] = grad[t][r] * silu_slope(gate[r], open);
            grad[t][r] *= gate[r] * open;
            rate[t][r] = from[t][r] = V{};
          }
        }
        for (long s = 0; s < S; s++) {
          V a[R], h[R], dh[R], da[R];
          load(A + s * D + d, D - d, a);
          load(saved(n, chunk, first + i) + s * P<T>, P<T>, h);
          std::copy_n(&reach[(i * S + s) * R], R, dh);
          std::copy_n(&sumA[(i * S + s) * R], R, da);
          const T *b = B(n, t0) + s, *c = C(n, t0) + s;
          V *gb = &sumB[s * K], *gc = &sumC[s * K];
          for (long t = 0; t < steps; t++) {
            const T bt = b[t * B.step], ct = c[t * C.step];
            V sum = gc[t];
            for (long r = 0; r < R; r++) {
              by[t][r] = exp2_of(tile.step[t][r] * a[r]);
              was[t][r] = by[t][r] * h[r];
              h[r] = was[t][r] + tile.into[t][r] * bt;
              tile.y[t][r] += ct * h[r];
              sum += grad[t][r] * h[r];
            }
            gc[t] = sum;
          }
          for (long t = steps - 1; t >= 0; t--) {
            const T bt = b[t * B.step], ct = c[t * C.step];
            V sum = gb[t];
            for (long r = 0; r < R; r++) {
              const V into = dh[r] + grad[t][r] * ct, through = into * was[t][r];
              sum += into * tile.into[t][r];
              from[t][r] += into * bt;
              rate[t][r] += through * a[r];
              da[r] += through * tile.step[t][r];
              dh[r] = into * by[t][r];
            }
            gb[t] = sum;
          }
          std::copy_n(dh, R, &reach[(i * S + s) * R]);
          std::copy_n(da, R, &sumA[(i * S + s) * R]);
        }
        V sk[R];
        load(skip + d, D - d, sk);
        for (long t = 0; t < steps; t++) {
          V gu[R], gd[R], gz[R];
          for (long r = 0; r < R; r++) {
            const V x = tile.x[t][r];
            gz[r] = gated[t][r] * tile.y[t][r];
            gu[r] = from[t][r] * tile.step[t][r] + grad[t][r] * sk[r];
            gd[r] = (from[t][r] * x + rate[t][r] * T(0.6931471805599453)) * sigmoid(tile.raw[t][r]);
            sums[2 * i * R + r] += grad[t][r] * x;
            sums[(2 * i + 1) * R + r] += gd[r];
          }
          store(du(n, t0 + t) + d, D - d, gu);
          store(ddelta(n, t0 + t) + d, D - d, gd);
          store(dz(n, t0 + t) + d, D - d, gz);
        }
      }
      for (long t = 0; t < steps; t++)
        for (long s = 0; s < S; s++) {
          const long at = ((g * N + n) * L + t0 + t) * S + s;
          dB[at] = dC[at] = 0;
          for (long lane = 0; lane < P<T> / R; lane++) {
            dB[at] += sumB[s * K + t][lane];
            dC[at] += sumC[s * K + t][lane];
          }
        }
    }
    for (long i = 0; i < count; i++) {
      const long d = (first + i) * P<T>;
      store(dskip + n * D + d, D - d, &sums[2 * i * R]);
      store(dbias + n * D + d, D - d, &sums[(2 * i + 1) * R]);
      for (long s = 0; s < S; s++) store(dA + (n * S + s) * D + d, D - d, &sumA[(i * S + s) * R]);
    }
  }
};

template <class I, class T> struct Conv {
  typedef typename Vector<T>::V V;
  const long G, N, L, D, W, tiles = (D + P<T> - 1) / P<T>;
  const View<I> x;
  const T *weight, *bias;

  Conv(const int64_t* n, void** p)
      : G(n[1]), N(n[2]), L(n[3]), D(n[4]), W(n[5]), x(p[0], n[6], n[7]), weight((T*)p[1]), bias((T*)p[2]) {}

  void convolve(long n, long t, long d, V* sum) const {
    load(bias + d, D - d, sum);
    for (long j = std::max(0L, t - W + 1); j <= t; j++) {
      V w[R], v[R];
      load(weight + (W - 1 - t + j) * D + d, D - d, w);
      load(x(n, j) + d, D - d, v);
      for (long r = 0; r < R; r++) sum[r] += w[r] * v[r];
    }
  }
  void forward(long n, long g, View<I> out) const {
    for (long t = 0; t < L; t++)
      for (long i = tiles * g / G; i < tiles * (g + 1) / G; i++) {
        V y[R];
        convolve(n, t, i * P<T>, y);
        for (long r = 0; r < R; r++) y[r] *= sigmoid(y[r]);
        store(out(n, t) + i * P<T>, D - i * P<T>, y);
      }
  }
  void backward(long n, long g, View<I> gout, View<I> dx, T* dweight, T* dbias) const {
    const long first = tiles * g / G, count = tiles * (g + 1) / G - first;
    // The gradients of the last W sums, and of weights and bias.
    std::vector<V> ring(W * count * R), dw((W + 1) * count * R);
    for (long t = 0; t < L + W - 1; t++)
      for (long i = 0; i < count; i++) {
        const long d = (first + i) * P<T>;
        V w[R], v[R], sum[R], *now = &ring[(t % W * count + i) * R];
        if (t < L) {
          convolve(n, t, d, sum);
          load(gout(n, t) + d, D - d, now);
          for (long r = 0; r < R; r++) {
            now[r] *= silu_slope(sum[r], sigmoid(sum[r]));
            dw[(W * count + i) * R + r] += now[r];
          }
          for (long j = std::max(0L, t - W + 1); j <= t; j++) {
            load(x(n, j) + d, D - d, v);
            for (long r = 0; r < R; r++) dw[((W - 1 - t + j) * count + i) * R + r] += now[r] * v[r];
          }
        }
        if (t < W - 1) continue;
        std::fill(sum, sum + R, V{});
        for (long j = std::max(0L, t - L + 1); j < W; j++) {
          load(weight + j * D + d, D - d, w);
          for (long r = 0; r < R; r++) sum[r] += w[r] * ring[((t - j) % W * count + i) * R + r];
        }
        store(dx(n, t - W + 1) + d, D - d, sum);
      }
    for (long i = 0; i < count; i++) {
      const long d = (first + i) * P<T>;
      for (long j = 0; j < W; j++) store(dweight + (n * W + j) * D + d, D - d, &dw[(j * count + i) * R]);
      store(dbias + n * D + d, D - d, &dw[(W * count + i) * R]);
    }
  }
};

#define EXPORT(NAME, I, T)                                                                                   \
  extern "C" int forward_##NAME(const int64_t* n, void** p) {                                                   \
    const Scan<I, T> scan(n, p);                                                                             \
    const View<I> y(p[9], n[3] * n[4], n[4]);                                                                \
    return share(n[1] * n[2], n[0], [&](long i) { scan.forward(i / n[1], i % n[1], y); });                   \
  }                                                                                                          \
  extern "C" int backward_##NAME(const int64_t* n, void** p) {                                                  \
    const Scan<I, T> scan(n, p);                                                                             \
    const auto view = [&](long i) { return View<I>(p[i], n[3] * n[4], n[4]); };                              \
    return share(n[1] * n[2], n[0], [&](long i) {                                                            \
      scan.backward(i / n[1], i % n[1], view(9), view(10), view(11), view(12), (T*)p[13], (T*)p[14],         \
                    (T*)p[15], (T*)p[16], (T*)p[17]);                                                        \
    });                                                                                                      \
  }                                                                                                          \
  extern "C" int conv_forward_##NAME(const int64_t* n, void** p) {                                              \
    const Conv<I, T> conv(n, p);                                                                             \
    const View<I> y(p[3], n[3] * n[4], n[4]);                                                                \
    return share(n[1] * n[2], n[0], [&](long i) { conv.forward(i / n[1], i % n[1], y); });                   \
  }                                                                                                          \
  extern "C" int conv_backward_##NAME(const int64_t* n, void** p) {                                             \
    const Conv<I, T> conv(n, p);                                                                             \
    const View<I> gout(p[3], n[3] * n[4], n[4]), dx(p[4], n[3] * n[4], n[4]);                                \
    return share(n[1] * n[2], n[0],                                                                          \
                 [&](long i) { conv.backward(i / n[1], i % n[1], gout, dx, (T*)p[5], (T*)p[6]); });          \
  }
EXPORT(float, float, float)
EXPORT(double, double, double)
EXPORT(bf16, bf16, float)
"""
