// A layer's kernels without a backward pass, and the choice of tokens, as infer.rs and greedy.rs launch them. D, SLOTS
// and NORM change from one compilation to the next.
#include "check.h"
#include "pipeline.h"

#include "common.cuh"
#include "barrier.cuh"
#include "wgmma.cuh"
#include "pipeline.cuh"
#include "infer.cu"

static size_t shared_bytes(u32 m) { return VECTORS + (3 * D + m) * 4; }
constexpr float EPSILON = 1e-3f;
// Abramowitz and Stegun's formula is off by 1e-7, and so are the few roundings around it.
constexpr double OF_NORMAL = 4e-7;
// exp of f32, near to a few units in the last place.
constexpr double OF_EXP = 32 * F32;

static std::string sizes(const char* kernel, u32 rows, u32 columns) {
    return std::string(kernel) + "/" + std::to_string(rows) + "x" + std::to_string(columns) + "/d=" + std::to_string(D);
}

// Rows and columns as slabs: 128 rows and 64 columns each, whose rows are filled up with what is no number. Slabs of the
// same rows lie one after the other, or those of the same columns.
static Buffer<u16> slabs(const std::vector<u16>& matrix, u32 rows, u32 columns, bool by_columns = false) {
    u32 down = (rows + 127) / 128, right = columns / 64;
    std::vector<u16> all(down * right * 8192, 0xffff);
    for (u32 row = 0; row < rows; row++)
        for (u32 column = 0; column < columns; column++) {
            u32 slab = by_columns ? column / 64 * down + row / 128 : row / 128 * right + column / 64;
            u32 chunk = column % 64 / 8 ^ row % 8;
            all[slab * 8192 + row % 128 * 64 + chunk * 8 + column % 8] = matrix[row * columns + column];
        }
    return Buffer<u16>(all);
}

static void run(u32 blocks, const std::function<void()>& kernel, u32 m = 0) {
    machine::launch({blocks, 1, 1}, THREADS, shared_bytes(m), kernel);
}

// Numbers, and by how much each may be off.
struct Uncertain {
    std::vector<double> value, off;
    void add(double x, double by) { value.push_back(x), off.push_back(by); }

    // As bf16: what is near the middle between two may become either.
    Uncertain rounded() const {
        Uncertain out;
        for (size_t i = 0; i < value.size(); i++) {
            double low = from_half(to_half((float)(value[i] - off[i]))), high = from_half(to_half((float)(value[i] + off[i])));
            out.add(from_half(to_half((float)value[i])), high - low);
        }
        return out;
    }
    // A row times the rows of a matrix.
    Uncertain times(const std::vector<u16>& matrix, u32 count) const {
        Uncertain out;
        size_t inner = value.size();
        for (u32 row = 0; row < count; row++) {
            double sum = 0.0, magnitude = 0.0, by = 0.0;
            for (size_t i = 0; i < inner; i++) {
                double x = from_half(matrix[row * inner + i]);
                sum += x * value[i], magnitude += std::fabs(x * value[i]), by += std::fabs(x) * off[i];
            }
            out.add(sum, NOISE * magnitude + by);
        }
        return out;
    }
    Uncertain norm(const float* gamma, const float* beta) const {
        double mean = 0.0, squares = 0.0, most = 0.0;
        for (double x : value) mean += x / D;
        for (double x : value) squares += (x - mean) * (x - mean) / D;
        for (size_t i = 0; i < D; i++) most = std::fmax(most, off[i] + NOISE * std::fabs(value[i]));
        double rstd = 1.0 / std::sqrt(squares + EPSILON);
        Uncertain out;
        for (size_t i = 0; i < D; i++) {
            double x = (value[i] - mean) * rstd, by = 2.0 * most * rstd + NOISE * std::fabs(x);
            out.add(x * gamma[i] + beta[i], std::fabs(gamma[i]) * by + NOISE * std::fabs(beta[i]));
        }
        return out;
    }
};

static Uncertain row_of(const Buffer<float>& x, u32 row) {
    Uncertain out;
    for (u32 i = 0; i < D; i++) out.add(x[row * D + i], 0.0);
    return out;
}

static const float WIDE = 2.0f / std::sqrt((float)D);
static std::vector<float> gains() {
    std::vector<float> gamma = random_floats(D, 11, 0.3f);
    for (float& x : gamma) x += 1.0f;
    return gamma;
}

#if NORM && D % 128 == 0
static double normal_below_exactly(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }

static void mlp(u32 rows, u32 m, u32 blocks) {
    Buffer<float> x(random_floats(rows * D, 1, 3.0f)), gamma(gains()), beta(random_floats(D, 2, 0.5f));
    Buffer<float> up_bias(random_floats(m, 3)), down_bias(random_floats(D, 4)), out(rows * D);
    std::vector<u16> attended = random_halves(rows * D, 5), output = random_halves(D * D, 6, WIDE);
    std::vector<u16> up = random_halves(m * D, 7, WIDE), down = random_halves(D * m, 8, 2.0f / std::sqrt((float)m));
    Buffer<u16> left = slabs(attended, rows, D), by_output = slabs(output, D, D, true);
    Buffer<u16> by_up = slabs(up, m, D), by_down = slabs(down, D, m, true);
    run(blocks, [&] {
        project_mlp(left.data(), x.data(), gamma.data(), beta.data(), up_bias.data(), down_bias.data(), by_output.data(),
                    by_up.data(), by_down.data(), out.data(), {rows, m, EPSILON});
    }, m);
    Outcome outcome(sizes("project_mlp", rows, m));
    outcome.guarded(out);
    for (u32 row = 0; row < rows; row++) {
        Uncertain of_row, after;
        for (u32 i = 0; i < D; i++) of_row.add(from_half(attended[row * D + i]), 0.0);
        Uncertain projected = of_row.times(output, D);
        for (u32 i = 0; i < D; i++) {
            double before = x[row * D + i];
            after.add(before + projected.value[i], projected.off[i] + NOISE * std::fabs(before));
        }
        Uncertain sums = after.norm(gamma.data(), beta.data()).rounded().times(up, m), hidden;
        for (u32 i = 0; i < m; i++) {
            double sum = sums.value[i] + up_bias[i], noise = sums.off[i] + NOISE * std::fabs(up_bias[i]);
            hidden.add(sum * normal_below_exactly(sum), 1.13 * noise + OF_NORMAL * std::fabs(sum));
        }
        Uncertain result = hidden.rounded().times(down, D);
        for (u32 i = 0; i < D; i++) {
            double wanted = after.value[i] + result.value[i] + down_bias[i];
            double noise = after.off[i] + result.off[i] + NOISE * (std::fabs(after.value[i]) + std::fabs(down_bias[i]));
            outcome.near_f32(row * D + i, out[row * D + i], wanted, noise);
        }
    }
}
#endif

// Few different numbers, whose products are exact and sums often equal.
static std::vector<float> coarse(size_t count, u32 seed, float size, float unit) {
    std::vector<float> numbers = random_floats(count, seed, size);
    for (float& x : numbers) x = std::floor(x / unit) * unit;
    return numbers;
}

static void most_probable(u32 rows, u32 vocab, u32 blocks) {
    std::vector<float> states = NORM ? random_floats(rows * D, 1, 3.0f) : coarse(rows * D, 1, 1.0f, 0.5f);
    std::vector<float> shift = coarse(vocab, 2, 1.0f, 0.25f);
    std::vector<u16> matrix;
    for (float x : coarse(vocab * D, 3, 0.5f, 0.25f)) matrix.push_back(to_half(x));
    // A row of nothing that is a number, and one of which a single logit is none.
    constexpr u32 NONE = 2, ONE = 5;
    for (u32 i = 0; i < D && rows > NONE; i++) states[NONE * D + i] = NAN;
    bool one = !NORM && rows > ONE && vocab > 1;
    if (one) {
        // Where the others have no share in it.
        for (u32 row = 0; row < rows; row++) states[row * D] = row == ONE ? INFINITY : 0.0f;
        for (u32 token = 0; token < vocab; token++) matrix[token * D] = to_half(token == 1 ? 0.0f : -1.0f);
        if (vocab > 3) matrix[3 * D] = to_half(0.0f);
    }
    Buffer<float> x(states), gamma(gains()), beta(random_floats(D, 4, 0.5f)), bias(shift);
    Buffer<u16> b = slabs(matrix, vocab, D);
    Buffer<float2> chosen(rows);
    run(blocks, [&] {
        project_greedy(x.data(), NORM ? gamma.data() : nullptr, NORM ? beta.data() : nullptr, b.data(), bias.data(), chosen.data(),
               {rows, vocab, EPSILON});
    }, vocab);
    Outcome outcome(sizes(NORM ? "project_greedy/norm" : "project_greedy", rows, vocab));
    outcome.guarded(chosen);
    for (u32 row = 0; row < rows; row++) {
        if (row == NONE || (one && row == ONE)) {
            // All logits are infinite or no number, and none is larger than minus infinity.
            outcome.near(2 * row, chosen[row].x, 0.0, 0.0), outcome.near(2 * row + 1, chosen[row].y, 0.0, 0.0);
            continue;
        }
        Uncertain state = NORM ? row_of(x, row).norm(gamma.data(), beta.data()).rounded() : row_of(x, row);
        Uncertain logits = state.times(matrix, vocab);
        u32 best = 0, found = (u32)chosen[row].x;
        double sum = 0.0, most = -INFINITY, noise = 0.0;
        for (u32 i = 0; i < vocab; i++) {
            logits.value[i] += shift[i], noise = std::fmax(noise, logits.off[i]);
            if (logits.value[i] > most) most = logits.value[i], best = i;
        }
        // Those that are as good within what is certain.
        if (NORM && found < vocab && logits.value[found] > most - 2.0 * noise) best = found;
        for (u32 i = 0; i < vocab; i++) sum += std::exp(logits.value[i] - most);
        outcome.near(2 * row, chosen[row].x, best, 0.0);
        outcome.near_f32(2 * row + 1, chosen[row].y, 1.0 / sum, (OF_EXP + (NORM ? 2.0 * noise : 0.0)) / sum);
    }
}

int main() {
#if NORM && D % 128 == 0
    // Rows that fill no tile, several tiles for each block, in all ways in which blocks run, and fewer tiles than blocks.
    mlp(1, 128, 1);
    for (u32 way = 0; way < 4; way++) mlp(260, 256, 1);
    mlp(130, 384, 2);
#endif
    most_probable(13, 1, 1);
    most_probable(300, 100, 1);
    most_probable(150, 129, 2);
    most_probable(13, 384, 1);
    return failures != 0;
}
