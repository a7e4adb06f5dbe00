// Layer norm, as norm.rs and rows.rs launch it: D, CHOSEN, WIDE and SPLIT, and for the backward pass SKIP, DROPPED and SCALED.
#include "check.h"

#include "common.cuh"
#include "halves.h"
#include "norm.cu"

// Rows that do not fill the last block of eight, and of which a backward pass with two blocks takes three rounds.
constexpr u32 LINES = 37, ROUNDS_OF = 2;
static const Mask DROPPING = {0x12345678u, 0x9abcdef1u, 0x40000000u, 4.0f / 3.0f};

// What is f32 with WIDE, and else as rows.cuh has it.
#if WIDE
struct Rows : Buffer<float> {
    explicit Rows(u32 rows) : Buffer<float>(rows * D) {}
    explicit Rows(const std::vector<float>& numbers) : Buffer<float>(numbers) {}
    double value(size_t at) const { return (*this)[at]; }
};
static void near_rounded(Outcome& outcome, size_t at, const Rows& got, double wanted, double noise) {
    outcome.near_f32(at, got[at], wanted, noise);
}
#else
struct Rows : Matrix {
    explicit Rows(u32 rows) : Matrix(rows, D) {}
    explicit Rows(const std::vector<float>& numbers) : Matrix(numbers, D) {}
};
static void near_rounded(Outcome& outcome, size_t at, const Rows& got, double wanted, double noise) {
    near_half(outcome, at, got, wanted, noise);
}
#endif

// A row of x, its moments, and both in doubles.
struct Case {
    std::vector<u32> rows;
    u32 all;
    Buffer<float> x, gamma, beta;
    Buffer<u32> chosen;
    // Rounded, as the backward pass reads them.
    std::vector<float> stats;
    std::vector<double> mean, rstd;

    static std::vector<u32> choose() {
        std::vector<u32> rows;
        for (u32 i = 0; i < LINES; i++) rows.push_back(CHOSEN ? 2 * i + i % 2 : i);
        return rows;
    }
    // The mean is not small beside the deviation: the variance has to be taken about it.
    static std::vector<float> shifted() {
        std::vector<float> numbers = random_floats(2 * LINES * D, 1);
        for (size_t at = 0; at < numbers.size(); at++) numbers[at] += (float)(at / D % 5) - 1.0f;
        return numbers;
    }

    Case()
        : rows(choose()), all(CHOSEN ? 2 * LINES : LINES), x(shifted()), gamma(random_floats(D, 2)),
          beta(random_floats(D, 3)), chosen(rows) {
        for (u32 row : rows) {
            double sum = 0.0, squares = 0.0;
            for (u32 i = 0; i < D; i++) sum += x[row * D + i];
            for (u32 i = 0; i < D; i++) squares += std::pow(x[row * D + i] - sum / D, 2);
            mean.push_back(sum / D), rstd.push_back(1.0 / std::sqrt(squares / D + 1e-5f));
            stats.push_back((float)mean.back()), stats.push_back((float)rstd.back());
        }
    }
    const u32* choice() const { return CHOSEN ? chosen.data() : nullptr; }
};

static void forward(Case& in, const std::string& name) {
    Rows y(LINES);
    Buffer<float> stats(2 * LINES);
    machine::launch({(LINES + 7) / 8, 1, 1}, 256, 0, [&] {
        norm_forward(in.x.data(), in.gamma.data(), in.beta.data(), in.choice(), y.data(), stats.data(), {LINES, 1e-5f});
    });
    Outcome outcome("norm_forward" + name), moments("norm_forward/moments" + name);
    outcome.guarded(y), moments.guarded(stats);
    for (u32 line = 0; line < LINES; line++) {
        double most = std::fabs(in.mean[line]) + 1.0;
        moments.near_f32(2 * line, stats[2 * line], in.mean[line], NOISE * most);
        moments.near_f32(2 * line + 1, stats[2 * line + 1], in.rstd[line], NOISE * in.rstd[line]);
        for (u32 i = 0; i < D; i++) {
            double normal = (in.x[in.rows[line] * D + i] - in.mean[line]) * in.rstd[line];
            double lost = NOISE * (most * in.rstd[line] + std::fabs(normal)) * std::fabs(in.gamma[i]);
            near_rounded(outcome, line * D + i, y, normal * in.gamma[i] + in.beta[i],
                         lost + NOISE * std::fabs(in.beta[i]));
        }
    }
}

static void backward(Case& in, const std::string& name) {
    Rows dy(random_floats(LINES * D, 4));
    Buffer<float> stats(in.stats), skip(random_floats(in.all * D, 5)), scale(std::vector<float>{0.7f});
    Buffer<float> dx(in.all * D);
    Matrix dropped(in.all, D);
    std::vector<float> start[2] = {random_floats(D, 6), random_floats(D, 7)};
    Buffer<float> dgamma(start[0]), dbeta(start[1]);
    machine::launch({ROUNDS_OF, 1, 1}, 256, 0, [&] {
        norm_backward(dy.data(), in.x.data(), stats.data(), in.gamma.data(), SKIP ? skip.data() : nullptr, in.choice(),
                      SCALED ? scale.data() : nullptr, dx.data(), dropped.data(), dgamma.data(), dbeta.data(),
                      {LINES, DROPPING});
    });
    Outcome outcome("norm_backward/dx" + name), rounded("norm_backward/dropped" + name);
    Outcome scales("norm_backward/dgamma" + name), shifts("norm_backward/dbeta" + name);
    outcome.guarded(dx), rounded.guarded(dropped), scales.guarded(dgamma), shifts.guarded(dbeta);
    std::vector<double> sums[2], sizes[2];
    for (int which = 0; which < 2; which++) {
        sums[which].assign(start[which].begin(), start[which].end());
        for (float x : start[which]) sizes[which].push_back(std::fabs(x));
    }
    std::vector<bool> met(in.all);
    for (u32 line = 0; line < LINES; line++) {
        size_t place = (size_t)in.rows[line] * D;
        met[in.rows[line]] = true;
        double shift = stats[2 * line], rstd = stats[2 * line + 1], normal[D], grad[D];
        double mean = 0.0, along = 0.0, size = 0.0, size_along = 0.0;
        for (u32 i = 0; i < D; i++) {
            double out = dy.value(line * D + i) * (SCALED ? scale[0] : 1.0);
            normal[i] = (in.x[place + i] - shift) * rstd, grad[i] = out * in.gamma[i];
            sums[0][i] += out * normal[i], sizes[0][i] += std::fabs(out * normal[i]);
            sums[1][i] += out, sizes[1][i] += std::fabs(out);
            mean += grad[i] / D, along += grad[i] * normal[i] / D;
            size += std::fabs(grad[i]) / D, size_along += std::fabs(grad[i] * normal[i]) / D;
        }
        for (u32 i = 0; i < D; i++) {
            double wanted = (grad[i] - mean - normal[i] * along) * rstd + (SKIP ? skip[place + i] : 0.0);
            double lost = (std::fabs(grad[i]) + size + std::fabs(normal[i]) * size_along) * rstd;
            double noise = NOISE * (lost + (SKIP ? std::fabs(skip[place + i]) : 0.0));
            outcome.near_f32(place + i, dx[place + i], wanted, noise);
            double factor = drawn(DROPPING, place + i);
            if (DROPPED) near_half(rounded, place + i, dropped, wanted * factor, noise * factor);
        }
    }
    for (size_t at = 0; at < dx.size(); at++) {
        if (!met[at / D]) outcome.unwritten(dx, at);
        if (!met[at / D] || !DROPPED) untouched(rounded, dropped, at);
    }
    for (u32 i = 0; i < D; i++) {
        scales.near_f32(i, dgamma[i], sums[0][i], NOISE * sizes[0][i]);
        shifts.near_f32(i, dbeta[i], sums[1][i], NOISE * sizes[1][i]);
    }
}

int main() {
    std::string name = "/" + std::to_string(D);
    if (CHOSEN) name += ",chosen";
    if (WIDE) name += ",wide";
    name += halves_name();
    Case in;
    forward(in, name);
    if (SKIP) name += ",skip";
    if (DROPPED) name += ",dropped";
    if (SCALED) name += ",scaled";
    backward(in, name);
    return failures != 0;
}
