// Rounding with dropout, and zeros, as rows.rs and launch.rs launch them.
#include "check.h"

#include "common.cuh"
#include "halves.h"
#include "narrow.cu"

static const Mask DROPPING = {0x12345678u, 0x9abcdef1u, 0x40000000u, 4.0f / 3.0f}, KEEPING = {0, 0, 0, 1.0f};

static void narrowed(u32 rows, u32 blocks, const Mask& mask, const char* name) {
    std::vector<float> start = random_floats(D, 2);
    Buffer<float> x(random_floats(rows * D, 1)), sums(start);
    Matrix out(rows, D);
    machine::launch({blocks, 1, 1}, 256, 0, [&] { narrow(x.data(), out.data(), sums.data(), {rows, mask}); });
    std::string sizes = std::to_string(rows) + "x" + std::to_string(D) + name + halves_name();
    Outcome outcome("narrow/" + sizes), added("narrow/sums/" + sizes);
    outcome.guarded(out), added.guarded(sums);
    for (u32 i = 0; i < D; i++) {
        double sum = start[i], size = std::fabs(sum);
        for (u32 row = 0; row < rows; row++) {
            u32 at = row * D + i;
            double wanted = x[at] * drawn(mask, at);
            near_half(outcome, at, out, wanted, F32 * std::fabs(wanted));
            sum += wanted, size += std::fabs(wanted);
        }
        added.near_f32(i, sums[i], sum, NOISE * size);
    }
}

static void zeros(u32 count) {
    Buffer<float> x(count);
    machine::launch({(count + 1023) / 1024, 1, 1}, 256, 0, [&] { zero(x.data(), count); });
    Outcome outcome("zero/" + std::to_string(count));
    outcome.guarded(x);
    for (u32 at = 0; at < count; at++) outcome.near(at, x[at], 0.0, 0.0);
}

int main() {
    narrowed(3, 1, KEEPING, "");
    narrowed(37, 2, DROPPING, ",dropout");
    // Of no meaning to this kernel, D is what it always is for it.
    for (u32 count : {1u, 1024u, 2500u})
        if (D == 64) zeros(count);
    return failures != 0;
}
