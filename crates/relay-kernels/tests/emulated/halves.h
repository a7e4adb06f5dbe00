// Matrices as rows.cuh has them: of bf16, or with SPLIT of sums of two.
//
// With SPLIT a result may be off by a share of 2^-17 where it is rounded, and a sum of products by what the products of two
// rests would add. What both are compared with knows all 16 bits: a product that was left out is some 2^-9 of the sum.
#pragma once
#include "check.h"
#include "rows.cuh"

// The place of a number in memory, of all in rows of n.
inline size_t half_place(size_t at, u32 n) { return at / n * n * PARTS + at % n; }

inline std::vector<u16> halves_of(const std::vector<float>& numbers, u32 n) {
    std::vector<u16> halves(numbers.size() * PARTS);
    for (size_t at = 0; at < numbers.size(); at++) {
        u16* to = &halves[half_place(at, n)];
        to[0] = to_half(numbers[at]);
        if (SPLIT) to[n] = to_half(numbers[at] - (float)from_half(to[0]));
    }
    return halves;
}

struct Matrix : Buffer<u16> {
    u32 n;

    // Not written yet.
    Matrix(u32 rows, u32 n) : Buffer<u16>(rows * n * PARTS), n(n) {}
    Matrix(const std::vector<float>& numbers, u32 n) : Buffer<u16>(halves_of(numbers, n)), n(n) {}

    double rest(size_t at) const { return SPLIT ? from_half((*this)[half_place(at, n) + n]) : 0.0; }
    double value(size_t at) const { return from_half((*this)[half_place(at, n)]) + rest(at); }
    bool untouched(size_t at) const {
        size_t place = half_place(at, n);
        return unwritten(place) && (!SPLIT || unwritten(place + n));
    }
};

inline void near_half(Outcome& outcome, size_t at, const Matrix& got, double wanted, double noise) {
    double rounding = bf16_rounding(std::fabs(wanted) + noise);
    // What is left is at most that, and rounded in its turn.
    if (SPLIT) rounding = 0.5 * bf16_rounding(rounding);
    outcome.near(at, got.value(at), wanted, noise + rounding);
}
inline void untouched(Outcome& outcome, const Matrix& matrix, size_t at) {
    if (!matrix.untouched(at)) outcome.near(at, matrix.value(at), NAN, 0.0);
}

// A sum of products, and what it may be off by.
struct Dot {
    double sum = 0.0, magnitude = 0.0, left_out = 0.0;

    void add(const Matrix& a, size_t i, const Matrix& b, size_t j) {
        double product = a.value(i) * b.value(j);
        sum += product, magnitude += std::fabs(product), left_out += std::fabs(a.rest(i) * b.rest(j));
    }
    double noise() const { return NOISE * magnitude + left_out; }
};

inline const char* halves_name() { return SPLIT ? ",split" : ""; }
