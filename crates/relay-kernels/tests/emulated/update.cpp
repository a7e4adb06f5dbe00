// A step of AdamW and sums of squares, as update.rs launches them.
#include "check.h"

#include "common.cuh"
#include "update.cu"

static void moved(u32 count) {
    Buffer<float> value(random_floats(count, 1)), gradient(random_floats(count, 2)), out(count), out_1(count), out_2(count);
    Buffer<float> moment_1(random_floats(count, 3)), moment_2(count);
    std::vector<float> some = random_floats(count, 4);
    for (u32 i = 0; i < count; i++) moment_2.data()[i] = some[i] * some[i];
    const double decay[2] = {0.9, 0.99}, unbiased[2] = {0.271, 0.0297}, epsilon = 1e-3, clip = 0.3, rate = 0.02, keep = 0.998;
    StepNumbers numbers = {count, (float)decay[0], (float)decay[1], (float)(1 - decay[0]), (float)(1 - decay[1]),
                           (float)unbiased[0], (float)unbiased[1], (float)epsilon, (float)clip, (float)rate, (float)keep};
    machine::launch({(count + 255) / 256, 1, 1}, 256, 0, [&] {
        adamw(value.data(), gradient.data(), moment_1.data(), moment_2.data(), out.data(), out_1.data(), out_2.data(), numbers);
    });
    std::string name = std::to_string(count);
    Outcome values("adamw/value/" + name), means("adamw/mean/" + name), squares("adamw/square/" + name);
    values.guarded(out), means.guarded(out_1), squares.guarded(out_2);
    for (u32 i = 0; i < count; i++) {
        double slope = gradient[i] * clip;
        double mean = decay[0] * moment_1[i] + (1 - decay[0]) * slope;
        double square = decay[1] * moment_2[i] + (1 - decay[1]) * slope * slope;
        double step = rate * (mean / unbiased[0]) / (std::sqrt(square / unbiased[1]) + epsilon);
        means.near_f32(i, out_1[i], mean, NOISE * (std::fabs(moment_1[i]) + std::fabs(slope)));
        squares.near_f32(i, out_2[i], square, NOISE * square);
        values.near_f32(i, out[i], keep * value[i] - step, NOISE * (std::fabs(value[i]) + 2 * std::fabs(step)));
    }
}

static void squared(u32 count, bool finite) {
    Buffer<float> x(random_floats(count, 5)), sums(std::vector<float>{1.0f, 2.0f, 3.0f});
    if (!finite) x.data()[count - 1] = INFINITY;
    machine::launch({(count + 4095) / 4096, 1, 1}, 256, 0, [&] { squares(x.data(), sums.data(), {count, 1}); });
    Outcome all("squares/" + std::to_string(count) + (finite ? "" : "/infinite"));
    all.guarded(sums);
    double sum = 2.0;
    for (u32 i = 0; i < count; i++) sum += (double)x[i] * x[i];
    all.near_f32(1, sums[1], sum, NOISE * sum);
    all.near(0, sums[0], 1.0, 0.0), all.near(2, sums[2], 3.0, 0.0);
}

int main() {
    for (u32 count : {1u, 255u, 513u}) moved(count);
    for (u32 count : {1u, 256u, 4095u, 4097u, 9000u}) squared(count, true);
    squared(5000, false);
    return failures != 0;
}
