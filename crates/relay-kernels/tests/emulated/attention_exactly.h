// Attention of one head in double precision, with all that its gradients need, from inputs rounded as the kernels do.
//
// The kernels round two things on the way that this does not: probabilities before they meet the values, and gradients of
// scores before they meet queries and keys. Each result has in `*_noise` what that may change, which is the largest
// relative error of rounding to bf16 for each term, and a little for all that happens in f32.
#pragma once
#include "check.h"

// Rounding of a term to bf16, with what f32 has lost of it before: scores of up to about 40 have lost 1e-5.
constexpr double TERM = 1.01 * BF16;
// Of a difference that is about to be rounded: what f32 lost of its parts.
constexpr double PART = 1.0 / (1 << 16);

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
            rows[row][i] = from_half(to_half(a * angle.x - b * angle.y));
            rows[row][i + HD / 2] = from_half(to_half(b * angle.x + a * angle.y));
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
    // Probabilities, what dropout multiplies them by, and how exactly the log of the sum of a row of exponentials is known.
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
            double most = -INFINITY, sum = 0.0, size = 0.0;
            for (u32 key = want.pad; key < end; key++) {
                row[key] = dot(q[query], k[key]) * want.scale - want.slope * std::fabs((double)query - key);
                most = std::fmax(most, row[key]);
                size = std::fmax(size, dot_of_sizes(q[query], k[key]) * want.scale + want.slope * width);
            }
            // Who sees no key has no probabilities, and a result of zero.
            if (want.pad >= end) continue;
            for (u32 key = want.pad; key < end; key++) sum += row[key] = std::exp(row[key] - most);
            lse[query] = most + std::log(sum), lse_noise[query] = NOISE * (1.0 + size);
            for (u32 key = want.pad; key < end; key++) {
                row[key] /= sum;
                add(out[query], row[key] * mask[query * width + key], v[key]);
                add_size(out_noise[query], TERM * row[key] * mask[query * width + key], v[key]);
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
            double delta = dot(grad[query], out[query]), size = dot_of_sizes(grad[query], out[query]);
            for (u32 key = 0; key < width; key++) {
                double p = head.p[query * width + key], mask = head.mask[query * width + key];
                if (p == 0.0) continue;
                double score = p * (mask * dot(grad[query], head.v[key]) - delta) * scale;
                double parts = p * (mask * dot_of_sizes(grad[query], head.v[key]) + size) * scale;
                double noise = TERM * std::fabs(score) + PART * parts;
                add(q[query], score, head.k[key]), add_size(q_noise[query], noise, head.k[key]);
                add(k[key], score, head.q[query]), add_size(k_noise[key], noise, head.q[query]);
                add(v[key], p * mask, grad[query]), add_size(v_noise[key], TERM * p * mask, grad[query]);
            }
        }
        if (head.want.rope) rotate_back(q, q_noise, head.want.angles), rotate_back(k, k_noise, head.want.angles);
    }
};
