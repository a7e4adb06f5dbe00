// Cross-entropy, the end of a readout's gradients, and the most probable tokens, as readout.rs and greedy.rs launch them,
// with PADDED columns of logits, with SPLIT and JUDGED.
#include <algorithm>

#include "check.h"

#include "common.cuh"
#include "halves.h"
#include "readout.cu"

// The loss starts at what is there before.
constexpr float BEFORE = 3.0f;
// exp and log of f32, near to a few units in the last place; larger numbers have larger units.
constexpr double OF_EXP = 32 * F32;

static void entropy(u32 rows, u32 vocab, u32 blocks) {
    std::string name = "/" + std::to_string(rows) + "x" + std::to_string(vocab) + "/padded=" + std::to_string(PADDED);
    name += halves_name();
    std::vector<float> before = random_floats(rows * PADDED, 1, 6.0f);
    std::vector<float> weights = random_floats(rows, 2), start = random_floats(PADDED, 3);
    std::vector<int> targets(rows);
    for (u32 row = 0; row < rows; row++) {
        // Every token in turn, the first and the last among them.
        targets[row] = (int)((row * 37 + vocab - 1) % vocab);
        weights[row] = std::fabs(weights[row]) + 0.01f;
        if (row % 3 != 1) continue;
        // What is not to be predicted may have any target, and logits that are no numbers.
        weights[row] = 0.0f, targets[row] = -1;
        for (u32 i = 0; i < PADDED; i++) before[row * PADDED + i] = NAN;
    }
    // Equals in two places, and a target that is the first of them, or the other one.
    std::vector<float> shifts = random_floats(vocab, 4);
    for (u32 row : {0u, 3u})
        if (vocab > 70 && row < rows) {
            for (u32 i : {1u, 67u}) before[row * PADDED + i] = 8.0f - (shifts[i] = 0.5f);
            targets[row] = row == 0 ? 1 : 67;
        }
    // A row far below all others, where one token is sure.
    const u32 low = 6;
    if (low < rows) {
        for (u32 i = 0; i < PADDED; i++) before[low * PADDED + i] = (int)i == targets[low] ? -2e30f : -3e30f;
    }
    const Matrix given(before, PADDED);
    Matrix logits(before, PADDED);
    Buffer<float> bias(shifts), weight(weights), loss(std::vector<float>{BEFORE}), sums(start);
    Buffer<float> right(std::vector<float>{BEFORE});
    Buffer<int> target(targets);
    machine::launch({blocks, 1, 1}, 256, 4 * PADDED, [&] {
        cross_entropy(logits.data(), bias.data(), target.data(), weight.data(), loss.data(), right.data(),
                      sums.data(), {rows, vocab, PADDED});
    });
    Outcome gradients("cross_entropy" + name), columns("cross_entropy/sums" + name), total("cross_entropy/loss" + name);
    Outcome guesses("cross_entropy/right" + name + (JUDGED ? ",judged" : ""));
    guesses.guarded(right), gradients.guarded(logits), columns.guarded(sums), total.guarded(loss);
    std::vector<double> wanted_sums(start.begin(), start.end()), lost(PADDED);
    double wanted_loss = BEFORE, size = BEFORE, wanted_right = BEFORE;
    for (u32 row = 0; row < rows; row++) {
        std::vector<double> x(vocab);
        double sum = 0.0;
        for (u32 i = 0; i < vocab; i++) x[i] = given.value(row * PADDED + i) + bias[i];
        const double most = *std::max_element(x.begin(), x.end());
        for (u32 i = 0; i < vocab; i++) sum += std::exp(x[i] - most);
        bool counts = weights[row] > 0.0f;
        if (counts) {
            wanted_loss += weights[row] * (std::log(sum) + most - x[targets[row]]);
            // Of the low row nothing is left but the difference, which is exact.
            size += row == low ? 0.0 : weights[row] * (std::log(sum) + most + std::fabs(x[targets[row]]));
            u32 first = std::max_element(x.begin(), x.end()) - x.begin();
            wanted_right += (int)first == targets[row];
        }
        for (u32 i = 0; i < PADDED; i++) {
            double share = counts && i < vocab ? weights[row] * std::exp(x[i] - most) / sum : 0.0;
            double aimed = (int)i == targets[row] ? weights[row] : 0.0;
            double noise = OF_EXP * share + NOISE * aimed;
            near_half(gradients, row * PADDED + i, logits, share - aimed, noise);
            wanted_sums[i] += share - aimed, lost[i] += noise + NOISE * (share + aimed);
        }
    }
    for (u32 i = 0; i < PADDED; i++)
        columns.near_f32(i, sums[i], wanted_sums[i], lost[i] + NOISE * std::fabs(start[i]));
    total.near_f32(0, loss[0], wanted_loss, NOISE * size);
    guesses.near(0, right[0], JUDGED ? wanted_right : BEFORE, 0.0);
}

static void finish(u32 d, u32 vocab) {
    Buffer<float> padded(random_floats(d * PADDED, 5)), sums(random_floats(PADDED, 6)), scale(std::vector<float>{0.7f});
    Buffer<float> weight(d * vocab), bias(vocab);
    machine::launch({(d * vocab + 255) / 256, 1, 1}, 256, 0, [&] {
        finish_readout(padded.data(), sums.data(), scale.data(), weight.data(), bias.data(), {d, vocab, PADDED});
    });
    Outcome outcome("finish_readout/" + std::to_string(d) + "x" + std::to_string(vocab) + "/padded=" +
                    std::to_string(PADDED));
    outcome.guarded(weight), outcome.guarded(bias);
    for (u32 at = 0; at < d * vocab; at++)
        outcome.near_f32(at, weight[at], (double)scale[0] * padded[at / vocab * PADDED + at % vocab], 0.0);
    for (u32 at = 0; at < vocab; at++) outcome.near_f32(at, bias[at], (double)scale[0] * sums[at], 0.0);
}

static void most_probable(u32 rows, u32 vocab) {
    std::string name = "greedy/" + std::to_string(rows) + "x" + std::to_string(vocab) + "/padded=" + std::to_string(PADDED);
    // Few different numbers, so that there are equals; what is padding is no number.
    auto coarse = [](std::vector<float> numbers) {
        for (float& x : numbers) x = std::floor(4.0f * x) / 4.0f;
        return numbers;
    };
    std::vector<float> numbers = coarse(random_floats(rows * PADDED, 7, 2.0f));
    for (u32 at = 0; at < rows * PADDED; at++)
        if (at % PADDED >= vocab || at / PADDED == 2) numbers[at] = NAN;
    Buffer<float> logits(numbers), bias(coarse(random_floats(vocab, 8)));
    Buffer<float2> chosen(rows);
    machine::launch({(rows + 7) / 8, 1, 1}, 256, 0,
                    [&] { greedy(logits.data(), bias.data(), chosen.data(), {rows, vocab, PADDED}); });
    Outcome outcome(name);
    outcome.guarded(chosen);
    for (u32 row = 0; row < rows; row++) {
        u32 best = 0;
        double sum = 0.0, most = -INFINITY;
        for (u32 i = 0; i < vocab; i++) {
            double x = numbers[row * PADDED + i] + bias[i];
            if (x > most) most = x, best = i;
        }
        for (u32 i = 0; i < vocab; i++) sum += std::exp(numbers[row * PADDED + i] + bias[i] - most);
        outcome.near(2 * row, chosen[row].x, best, 0.0);
        // Nothing is known of a row without numbers.
        double probability = row == 2 ? 0.0 : 1.0 / sum;
        outcome.near_f32(2 * row + 1, chosen[row].y, probability, OF_EXP * probability);
    }
}

int main() {
    for (u32 vocab : {1u, PADDED - 29u, PADDED - 28u, PADDED + 0u}) {
        entropy(45, vocab, 2);
        entropy(3, vocab, 1);
        finish(64, vocab);
        most_probable(13, vocab);
    }
    return failures != 0;
}
