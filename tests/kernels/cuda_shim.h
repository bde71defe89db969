// Runs CUDA kernels on the CPU, one block after the other. Each thread of a block is a fibre that hands over at
// __syncthreads; a barrier that only some threads of a block reach is reported as an error.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

using std::atan, std::erfc, std::exp, std::expm1, std::fabs, std::floor, std::log, std::log1p, std::max, std::min, std::pow;
using std::sqrt, std::tanh;

struct Index { unsigned x = 0, y = 0, z = 0; };
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

struct Fibre {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 16);
  unsigned barriers = 0;
  bool done = false;
};

static std::vector<Fibre> fibres;
static ucontext_t scheduler;
static unsigned current;
static std::function<void()> body;

inline void hand_over() { swapcontext(&fibres[current].context, &scheduler); }

inline void enter() {
  body();
  fibres[current].done = true;
  hand_over();
}

// Returns whether all threads of the block met at every barrier.
inline bool run_block() {
  const unsigned count = blockDim.x * blockDim.y;
  for (unsigned t = 0; t < count; t++) {
    Fibre& f = fibres[t];
    f.barriers = 0;
    f.done = false;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, enter, 0);
  }
  for (unsigned running = count; running;) {
    for (current = 0; current < count; current++) {
      if (fibres[current].done) continue;
      threadIdx.x = current % blockDim.x;
      threadIdx.y = current / blockDim.x;
      swapcontext(&scheduler, &fibres[current].context);
      if (fibres[current].done) running--;
    }
    for (unsigned t = 1; t < count; t++)
      if (fibres[t].barriers != fibres[0].barriers) return false;
  }
  return true;
}

template <typename... P, std::size_t... I>
bool run(void (*kernel)(P...), const unsigned* grid, const unsigned* block, void** arguments,
         std::index_sequence<I...>) {
  gridDim.x = grid[0], gridDim.y = grid[1];
  blockDim.x = block[0], blockDim.y = block[1];
  if (fibres.size() < blockDim.x * blockDim.y) fibres.resize(blockDim.x * blockDim.y);
  body = [=] { kernel(*static_cast<std::decay_t<P>*>(arguments[I])...); };
  for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
      if (!run_block()) return false;
  return true;
}

template <typename... P>
bool launch(void (*kernel)(P...), const unsigned* grid, const unsigned* block, void** arguments) {
  return run(kernel, grid, block, arguments, std::index_sequence_for<P...>());
}

}  // namespace shim

inline void __syncthreads() {
  shim::fibres[shim::current].barriers++;
  shim::hand_over();
}
