// Attention of one head in double precision, with all that its gradients need, from inputs rounded as the kernels do.
//
// The kernels round two things on the way that this does not: probabilities before they meet the values, and gradients of
// scores before they meet queries and keys. Each result has in `*_noise` what that may change, which is the largest
// relative error of rounding to bf16 for each term, and a little for all that happens in f32.
//
// With SPLIT it is the largest relative error of rounding twice, and what a product of two split operands leaves out. A
// product that was forgotten changes sums of many terms by more than that.
#pragma once
#include "check.h"

// The largest relative error of a number that is kept, and of a product of two that are.
constexpr double KEPT = SPLIT ? BF16 * BF16 / 2 : BF16;
constexpr double LEFT_OUT = SPLIT ? BF16 * BF16 : 0.0;
// What sums of HD such products have lost, as a share of the sum of their sizes: errors of random signs.
constexpr double SUMMED = SPLIT ? LEFT_OUT / 4 : 0.0;
// Of a difference that is about to be rounded: what f32 and products lost of its parts.
constexpr double PART = SPLIT ? NOISE + SUMMED : 1.0 / (1 << 16);
// Rounding of a term, with what has been lost of it before: in f32 scores of up to about 40 have lost 1e-5, which is little
// beside bf16 but not beside two of them.
inline double term(double score_noise) { return SPLIT ? KEPT + LEFT_OUT + 2.0 * score_noise : 1.01 * BF16; }

// A number as it is kept: the bf16 nearest to it, or with SPLIT the sum of that and of the one nearest to what it leaves.
inline u16 rest_of(double x) { return to_half((float)(x - from_half(to_half((float)x)))); }
inline double kept(double x) {
    double first = from_half(to_half((float)x));
    return SPLIT ? first + from_half(rest_of(x)) : first;
}
// Half a unit in the last place of such a number.
inline double kept_rounding(double x) { return bf16_rounding(x) * (SPLIT ? BF16 / 2 : 1.0); }

// Numbers of a head, [width, HD].
struct Rows {
    u32 width;
    std::vector<double> numbers;
    Rows(u32 width) : width(width), numbers(width * HD) {}
    double* operator[](u32 row) { return &numbers[row * HD]; }
    const double* operator[](u32 row) const { return &numbers[row * HD]; }
};
inline double dot(const double* a, const double* b) {
    double sum = 0.0;
    for (u32 i = 0; i < HD; i++) sum += a[i] * b[i];
    return sum;
}
inline double dot_of_sizes(const double* a, const double* b) {
    double sum = 0.0;
    for (u32 i = 0; i < HD; i++) sum += std::fabs(a[i] * b[i]);
    return sum;
}
inline void add(double* to, double factor, const double* row) {
    for (u32 i = 0; i < HD; i++) to[i] += factor * row[i];
}
inline void add_size(double* to, double factor, const double* row) {
    for (u32 i = 0; i < HD; i++) to[i] += factor * std::fabs(row[i]);
}

// Turns pairs half a row apart by the angle of their column in the sequence, forwards or back. In f32, as kernels do:
// what is rounded afterwards is then rounded the same way.
inline void rotate(Rows& rows, const float2* angles) {
    for (u32 row = 0; row < rows.width; row++)
        for (u32 i = 0; i < HD / 2; i++) {
            float2 angle = angles[row * (HD / 2) + i];
            float a = (float)rows[row][i], b = (float)rows[row][i + HD / 2];
            rows[row][i] = kept(a * angle.x - b * angle.y);
            rows[row][i + HD / 2] = kept(b * angle.x + a * angle.y);
        }
}
inline void rotate_back(Rows& rows, Rows& noise, const float2* angles) {
    for (u32 row = 0; row < rows.width; row++)
        for (u32 i = 0; i < HD / 2; i++) {
            double x = angles[row * (HD / 2) + i].x, y = angles[row * (HD / 2) + i].y;
            double *a = rows[row] + i, *b = a + HD / 2, *c = noise[row] + i, *d = c + HD / 2;
            double first = *a * x + *b * y, first_noise = *c * std::fabs(x) + *d * std::fabs(y);
            *b = *b * x - *a * y, *d = *d * std::fabs(x) + *c * std::fabs(y);
            *a = first, *c = first_noise;
        }
}

// What a head is asked for.
struct Wanted {
    u32 width, pad;
    bool causal, rope;
    double scale, slope;
    const float2* angles;
};

struct Head {
    Wanted want;
    Rows q, k, v, out, out_noise;
    // Probabilities, what dropout multiplies them by, and how exactly a row's scores are known, and with them the log of
    // the sum of their exponentials.
    std::vector<double> p, mask, lse, lse_noise;

    Head(const Wanted& want)
        : want(want), q(want.width), k(want.width), v(want.width), out(want.width), out_noise(want.width),
          p(want.width * want.width), mask(want.width * want.width, 1.0), lse(want.width, INFINITY), lse_noise(want.width) {}

    // Once q, k, v and mask are filled in.
    void forward() {
        u32 width = want.width;
        if (want.rope) rotate(q, want.angles), rotate(k, want.angles);
        for (u32 query = 0; query < width; query++) {
            double* row = &p[query * width];
            u32 end = want.causal ? query + 1 : width;
            double most = -INFINITY, sum = 0.0, products = 0.0;
            for (u32 key = want.pad; key < end; key++) {
                row[key] = dot(q[query], k[key]) * want.scale - want.slope * std::fabs((double)query - key);
                most = std::fmax(most, row[key]);
                products = std::fmax(products, dot_of_sizes(q[query], k[key]) * want.scale);
            }
            // Who sees no key has no probabilities, and a result of zero.
            if (want.pad >= end) continue;
            for (u32 key = want.pad; key < end; key++) sum += row[key] = std::exp(row[key] - most);
            lse[query] = most + std::log(sum);
            lse_noise[query] = NOISE * (1.0 + products + want.slope * width) + SUMMED * products;
            for (u32 key = want.pad; key < end; key++) {
                row[key] /= sum;
                add(out[query], row[key] * mask[query * width + key], v[key]);
                add_size(out_noise[query], term(lse_noise[query]) * row[key] * mask[query * width + key], v[key]);
            }
        }
    }
};

struct HeadGradients {
    Rows q, k, v, q_noise, k_noise, v_noise;

    // With the result of the forward pass as it was rounded.
    HeadGradients(const Head& head, const Rows& out, const Rows& grad)
        : q(grad.width), k(q), v(q), q_noise(q), k_noise(q), v_noise(q) {
        u32 width = grad.width;
        double scale = head.want.scale;
        for (u32 query = 0; query < width; query++) {
            double of_term = term(head.lse_noise[query]);
            double delta = dot(grad[query], out[query]), size = dot_of_sizes(grad[query], out[query]);
            for (u32 key = 0; key < width; key++) {
                double p = head.p[query * width + key], mask = head.mask[query * width + key];
                if (p == 0.0) continue;
                double score = p * (mask * dot(grad[query], head.v[key]) - delta) * scale;
                double parts = p * (mask * dot_of_sizes(grad[query], head.v[key]) + size) * scale;
                double noise = of_term * std::fabs(score) + PART * parts;
                add(q[query], score, head.k[key]), add_size(q_noise[query], noise, head.k[key]);
                add(k[key], score, head.q[query]), add_size(k_noise[key], noise, head.q[query]);
                add(v[key], p * mask, grad[query]), add_size(v_noise[key], of_term * p * mask, grad[query]);
            }
        }
        if (head.want.rope) rotate_back(q, q_noise, head.want.angles), rotate_back(k, k_noise, head.want.angles);
    }
};
