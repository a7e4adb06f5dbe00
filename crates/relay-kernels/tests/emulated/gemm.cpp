// Products, as product.rs launches them. BIAS, KEEP, COLUMNS, RESIDENT and SPLIT change from one compilation to the next.
#include "check.h"
#include "wgmma.h"

#include "common.cuh"
#include "halves.h"
#include "barrier.cuh"
#include "wgmma.cuh"
#include "hopper.cuh"
#include "gemm.cuh"
#include "gemm.cu"

static const Mask DROPPING = {0x12345678u, 0x9abcdef1u, 0x40000000u, 4.0f / 3.0f}, KEEPING = {0, 0, 0, 1.0f};

// a[m, k] * b[n, k]^T, and what it may be off by.
struct Operands {
    Sizes size;
    Matrix a, b;
    std::vector<double> sum, noises;

    Operands(u32 m, u32 n, u32 k) : size{m, n, k}, a(random_floats(m * k, 1), k), b(random_floats(n * k, 2), k) {
        for (u32 row = 0; row < m; row++)
            for (u32 column = 0; column < n; column++) {
                Dot dot;
                for (u32 i = 0; i < k; i++) dot.add(a, row * k + i, b, column * k + i);
                sum.push_back(dot.sum), noises.push_back(dot.noise());
            }
    }
    size_t results() const { return sum.size(); }
    double noise(size_t at) const { return noises[at]; }
    std::string name(const char* kernel) const {
        return std::string(kernel) + "/" + std::to_string(size.m) + "x" + std::to_string(size.n) + "x" +
               std::to_string(size.k) + "/columns=" + std::to_string(COLUMNS) + (RESIDENT ? ",resident" : "") + halves_name();
    }
    void launch(const std::function<void()>& kernel) const {
        u32 across = (size.n + COLUMNS - 1) / COLUMNS, down = (size.m + TOGETHER * ROWS - 1) / (TOGETHER * ROWS);
        // Two for each tile of columns, so that one takes several tiles of rows.
        machine::launch({across * min(down, 2u), 1, 1}, THREADS, SHARED_BYTES, kernel);
    }
};

static void residual(Operands& in, const Mask& mask, const char* name) {
    Buffer<float> bias(random_floats(in.size.n, 3)), before(random_floats(in.results(), 4)), out(in.results());
    // A bias that is not to be read does not exist.
    const float* shift = BIAS ? bias.data() : nullptr;
    ResidualSizes sizes = {in.size, mask};
    in.launch([&] { gemm_residual(in.a.data(), in.b.data(), shift, before.data(), out.data(), sizes); });
    Outcome outcome(in.name(name));
    outcome.guarded(out);
    for (size_t at = 0; at < in.results(); at++) {
        double added = in.sum[at] + (BIAS ? bias[at % in.size.n] : 0.0f), factor = drawn(mask, at);
        double noise = factor * (in.noise(at) + NOISE * std::fabs(added)) + F32 * std::fabs(before[at]);
        outcome.near_f32(at, out[at], before[at] + factor * added, noise);
    }
}

// Abramowitz and Stegun's formula is off by 1e-7, and so are the few roundings around it.
constexpr double OF_NORMAL = 4e-7;
static double normal_below_exactly(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
static double slope_exactly(double x) {
    return normal_below_exactly(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::acos(-1.0));
}

static void gelu_of_product(Operands& in) {
    Buffer<float> bias(random_floats(in.size.n, 3));
    Matrix slope(in.size.m, in.size.n), after(in.size.m, in.size.n);
    u16* kept = KEEP ? slope.data() : nullptr;
    in.launch([&] { gemm_gelu(in.a.data(), in.b.data(), bias.data(), kept, after.data(), in.size); });
    Outcome outcome(in.name(KEEP ? "gemm_gelu" : "gemm_gelu/alone"));
    outcome.guarded(after), outcome.guarded(slope);
    for (size_t at = 0; at < in.results(); at++) {
        double shift = bias[at % in.size.n], sum = in.sum[at] + shift, noise = in.noise(at) + F32 * std::fabs(shift);
        // GELU rises by at most 1.13 for each unit of noise, and its slope by less than one.
        double allowed = 1.13 * noise + OF_NORMAL * std::fabs(sum);
        near_half(outcome, at, after, sum * normal_below_exactly(sum), allowed);
        if (KEEP) near_half(outcome, at, slope, slope_exactly(sum), noise + OF_NORMAL * (1.0 + std::fabs(sum)));
    }
}

static void store_and_scaled(Operands& in) {
    Matrix rounded(in.size.m, in.size.n);
    in.launch([&] { gemm_store(in.a.data(), in.b.data(), rounded.data(), in.size); });
    Buffer<float> scale(std::vector<float>{0.7f}), scaled(in.results());
    in.launch([&] { gemm_scaled(in.a.data(), in.b.data(), scale.data(), scaled.data(), in.size); });
    Outcome store(in.name("gemm_store")), times(in.name("gemm_scaled"));
    store.guarded(rounded), times.guarded(scaled);
    for (size_t at = 0; at < in.results(); at++) {
        near_half(store, at, rounded, in.sum[at], in.noise(at));
        times.near_f32(at, scaled[at], in.sum[at] * scale[0], in.noise(at));
    }
}

#if COLUMNS == 128
static void back_through_gelu(Operands& in) {
    Matrix slope(random_floats(in.results(), 5, 1.2f), in.size.n), out(in.size.m, in.size.n);
    std::vector<float> start = random_floats(in.size.n, 6);
    Buffer<float> sums(start);
    in.launch([&] { gemm_dgelu(in.a.data(), in.b.data(), slope.data(), out.data(), sums.data(), in.size); });
    Outcome outcome(in.name("gemm_dgelu")), added(in.name("gemm_dgelu/sums"));
    outcome.guarded(out), added.guarded(sums);
    std::vector<double> total(start.begin(), start.end()), lost(in.size.n);
    for (size_t at = 0; at < in.results(); at++) {
        double factor = slope.value(at), wanted = in.sum[at] * factor;
        double noise = in.noise(at) * std::fabs(factor) + F32 * std::fabs(wanted);
        near_half(outcome, at, out, wanted, noise);
        total[at % in.size.n] += wanted, lost[at % in.size.n] += noise + NOISE * std::fabs(wanted);
    }
    for (u32 column = 0; column < in.size.n; column++)
        added.near_f32(column, sums[column], total[column], lost[column] + NOISE * std::fabs(start[column]));
}
#endif

int main() {
    // One slice of the inner dimension, two, as many as stay and more than are in flight at once; rows and columns that fill no
    // tile; several tiles of rows for a block, an odd and an even number of them.
    for (Sizes size : {Sizes{1, 64, 64}, Sizes{450, 192, 128}, Sizes{330, 320, RESIDENT ? 256 : 320}}) {
        Operands in(size.m, size.n, size.k);
        residual(in, KEEPING, BIAS ? "gemm_residual/bias" : "gemm_residual");
        residual(in, DROPPING, BIAS ? "gemm_residual/bias,dropout" : "gemm_residual/dropout");
        gelu_of_product(in);
        store_and_scaled(in);
#if COLUMNS == 128
        back_through_gelu(in);
#endif
    }
    return failures != 0;
}
