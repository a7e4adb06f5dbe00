// What the tests share: buffers with guards, random numbers, and how far a result may be from what it should be.
//
// Every number has an allowance of its own, made of two parts:
//   - the rounding of the result, half a unit in the last place of bf16 or f32. A result is never allowed more.
//   - noise: what f32 sums lose on the way. It goes with the sum of the absolute values that were added, and with
//     NOISE = 4 units of 2^-24 is several times what sums of some hundred random numbers lose. One term that is missing,
//     or is another, changes a sum by a thousand times more.
// A test prints the largest error of any number, as a share of its allowance. Where results are rounded to bf16 it should
// be near 1: of many numbers one always lies halfway between two that bf16 has.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "instructions.h"

constexpr double F32 = 1.0 / (1 << 24);
constexpr double NOISE = 4 * F32;
// The largest relative error of rounding to bf16.
constexpr double BF16 = 1.0 / (1 << 8);

inline double from_half(u16 x) { return half_of(x, 0); }
inline double from_half(float x) { return x; }
inline u16 to_half(float x) { return (u16)rounded_bf16(x); }

// Half a unit in the last place of a number in bf16.
inline double bf16_rounding(double x) { return x == 0.0 ? 0.0 : std::ldexp(1.0, std::ilogb(x) - 8); }

// A buffer on the device. Every byte is 0xff, which is NaN, until it is written. So are those in front and behind, always.
template <typename T>
class Buffer {
    static constexpr size_t GUARD = 4096;
    std::vector<T> all;
    size_t count;

  public:
    explicit Buffer(size_t count) : all(count + 2 * GUARD), count(count) {
        memset((void*)all.data(), 0xff, all.size() * sizeof(T));
    }
    Buffer(const std::vector<T>& content) : Buffer(content.size()) {
        for (size_t i = 0; i < count; i++) data()[i] = content[i];
    }
    T* data() { return all.data() + GUARD; }
    const T* data() const { return all.data() + GUARD; }
    size_t size() const { return count; }
    T operator[](size_t i) const { return data()[i]; }
    bool unwritten(size_t i) const {
        T fresh;
        memset((void*)&fresh, 0xff, sizeof fresh);
        return memcmp(data() + i, &fresh, sizeof fresh) == 0;
    }
    bool guarded() const {
        for (size_t i = 0; i < GUARD; i++)
            if (!unwritten(i - GUARD) || !unwritten(count + i)) return false;
        return true;
    }
};

// Numbers between -size and size.
inline std::vector<float> random_floats(size_t count, u32 seed, float size = 1.0f) {
    u64 state = seed * 0x9e3779b97f4a7c15ull + 1;
    std::vector<float> numbers(count);
    for (float& x : numbers) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        x = size * ((float)(state >> 40) / (1 << 23) - 1.0f);
    }
    return numbers;
}
inline std::vector<u16> random_halves(size_t count, u32 seed, float size = 1.0f) {
    std::vector<u16> numbers;
    for (float x : random_floats(count, seed, size)) numbers.push_back(to_half(x));
    return numbers;
}

// What dropout multiplies the element `index` by: dropout.rs in other words, for any struct with the fields of a mask.
template <typename AnyMask>
double drawn(const AnyMask& mask, u64 index) {
    auto mix = [](u64 x) {
        x = (x ^ x >> 16) * 2146121005ull % 4294967296ull;
        x = (x ^ x >> 15) * 2221713035ull % 4294967296ull;
        return x ^ x >> 16;
    };
    u64 draw = mix((mix(index % 4294967296ull ^ mask.first) + mask.second) % 4294967296ull);
    return draw < mask.threshold ? 0.0 : (double)mask.keep;
}

inline int failures = 0;

// The comparison of a result with what it should be, printed when it is complete.
class Outcome {
    std::string name, where;
    double worst = 0.0;

    void note(size_t at, double error, double got, double wanted) {
        if (error <= worst) return;
        char text[120];
        snprintf(text, sizeof text, "  at %zu: %.9g instead of %.9g", at, got, wanted);
        worst = std::isnan(error) ? INFINITY : error, where = text;
    }

  public:
    explicit Outcome(const std::string& name) : name(name) {}
    Outcome(const Outcome&) = delete;
    ~Outcome() {
        bool good = worst <= 1.0;
        printf("%s %s %.3f%s\n", good ? "ok" : "FAILED", name.c_str(), worst, good ? "" : where.c_str());
        failures += !good;
    }

    void near(size_t at, double got, double wanted, double allowed) {
        double error = got == wanted ? 0.0 : std::fabs(got - wanted) / allowed;
        note(at, std::isnan(error) ? INFINITY : error, got, wanted);
    }
    void near_f32(size_t at, double got, double wanted, double noise) {
        near(at, got, wanted, noise + F32 * (std::fabs(wanted) + noise));
    }
    void near_bf16(size_t at, double got, double wanted, double noise) {
        near(at, got, wanted, noise + bf16_rounding(std::fabs(wanted) + noise));
    }
    void no_number(size_t at, double got) {
        if (!std::isnan(got)) note(at, INFINITY, got, NAN);
    }
    // Nothing was written around a buffer.
    template <typename T>
    void guarded(const Buffer<T>& buffer) {
        if (!buffer.guarded()) worst = INFINITY, where = "  written out of bounds";
    }
    template <typename T>
    void unwritten(const Buffer<T>& buffer, size_t at) {
        if (!buffer.unwritten(at)) note(at, INFINITY, from_half(buffer[at]), NAN);
    }
};
