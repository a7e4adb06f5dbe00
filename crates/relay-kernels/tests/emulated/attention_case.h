// What attention is tested on, for one width: everything but the launches, which are other ones for long widths.
#pragma once
#include "attention_exactly.h"

constexpr u32 SAMPLES = 3, HEADS = 2, D_MODEL = HEADS * HD;
static const Mask DROPPING = {0x12345678u, 0x9abcdef1u, 0x1999999au, 1.0f / 0.9f};
static const float SLOPES[HEADS] = {0.25f, 0.0625f};

static std::vector<float2> angles_of_columns() {
    std::vector<float2> angles;
    for (u32 column = 0; column < WIDTH; column++)
        for (u32 i = 0; i < HD / 2; i++) {
            double angle = column * std::pow(10000.0, -(double)i / (HD / 2));
            angles.push_back({(float)std::cos(angle), (float)std::sin(angle)});
        }
    return angles;
}

// Where a head's row begins, in [samples, width, PARTS, parts, heads, HD]. With SPLIT the rest of it begins
// `parts * D_MODEL` behind.
static size_t place(u32 sample, u32 column, u32 part, u32 parts, u32 head) {
    return (((size_t)sample * WIDTH + column) * PARTS * parts + part) * D_MODEL + head * HD;
}
static double number_at(const Buffer<u16>& buffer, size_t at, u32 parts) {
    return from_half(buffer[at]) + (SPLIT ? from_half(buffer[at + parts * D_MODEL]) : 0.0);
}
static void put(Buffer<u16>& buffer, size_t at, u32 parts, double x) {
    buffer.data()[at] = to_half((float)x);
    if (SPLIT) buffer.data()[at + parts * D_MODEL] = rest_of(x);
}
// Numbers between -size and size as they are kept, in rows of so many parts.
static Buffer<u16> random_rows(u32 parts, u32 seed, float size) {
    const std::vector<float> numbers = random_floats(SAMPLES * WIDTH * parts * D_MODEL, seed, size);
    Buffer<u16> rows(numbers.size() * PARTS);
    for (size_t i = 0; i < numbers.size(); i++)
        put(rows, i + (SPLIT ? i / (parts * D_MODEL) * parts * D_MODEL : 0), parts, numbers[i]);
    return rows;
}
static Rows rows_of(const Buffer<u16>& buffer, u32 sample, u32 part, u32 parts, u32 head) {
    Rows rows(WIDTH);
    for (u32 column = 0; column < WIDTH; column++)
        for (u32 i = 0; i < HD; i++)
            rows[column][i] = number_at(buffer, place(sample, column, part, parts, head) + i, parts);
    return rows;
}
static void compare(Outcome& outcome, const Buffer<u16>& buffer, u32 sample, u32 part, u32 parts, u32 head,
                    const Rows& wanted, const Rows& noise) {
    for (u32 column = 0; column < WIDTH; column++)
        for (u32 i = 0; i < HD; i++) {
            size_t at = place(sample, column, part, parts, head) + i;
            double allowed = noise[column][i] + kept_rounding(std::fabs(wanted[column][i]) + noise[column][i]);
            outcome.near(at, number_at(buffer, at, parts), wanted[column][i], allowed);
        }
}

// Numbers of all heads, on the device.
struct Tensors {
    AttentionParams params;
    Buffer<u16> qkv{random_rows(3, 1, 2.0f)}, out{SAMPLES * WIDTH * PARTS * D_MODEL};
    Buffer<u16> grad{random_rows(1, 2, 1.0f)}, grad_qkv{SAMPLES * WIDTH * PARTS * 3 * D_MODEL};
    Buffer<float> lse{SAMPLES * HEADS * WIDTH}, slopes{std::vector<float>(SLOPES, SLOPES + HEADS)};
    Buffer<float2> angles{angles_of_columns()};
    Buffer<u32> pads;

    Tensors(u32 flags, const std::vector<u32>& pads)
        : params{SAMPLES, WIDTH, HEADS, flags, 1.0f / std::sqrt((float)HD), DROPPING}, pads(pads) {}
};

static std::string described(u32 flags) {
    std::string name = "/" + std::to_string(WIDTH);
    if (flags & CAUSAL) name += ",causal";
    if (flags & ROPE) name += ",rope";
    if (flags & ALIBI) name += ",slopes";
    if (flags & DROPOUT) name += ",dropout";
    if (SPLIT) name += ",split";
    return name;
}

// Which kernel gives what, for the names of the comparisons.
struct Kernels {
    std::string forward, queries, keys;
    // Whether the forward pass keeps what a backward pass needs.
    bool keeps = true;
};

// A row whose visible scores are all minus infinity has no softmax, and none may be made up for it.
template <typename Forward>
void without_a_number(const Kernels& kernels, u32 flags, Forward forward) {
    Tensors tensors(flags, std::vector<u32>(SAMPLES, 0));
    const double large = std::ldexp(1.0, 127);
    const u32 row = WIDTH / 2;
    for (u32 i = 0; i < HD; i++) {
        put(tensors.qkv, place(0, row, 0, 3, 0) + i, 3, -large);
        for (u32 column = 0; column < WIDTH; column++) put(tensors.qkv, place(0, column, 1, 3, 0) + i, 3, large);
    }
    forward(tensors);
    Outcome result(kernels.forward + "/no number" + described(flags));
    for (u32 i = 0; i < HD; i++) {
        const size_t at = place(0, row, 0, 1, 0) + i;
        result.no_number(at, number_at(tensors.out, at, 1));
    }
    // Not that of a row that sees no key, either, which is infinite.
    if (kernels.keeps) result.no_number(row, tensors.lse[row] > 0.0f ? 0.0 : NAN);
}

// Compares what `forward` and `backward` do to tensors with what they should. `padding` are the columns of padding at the
// beginning of each sample.
template <typename Forward, typename Backward>
void attention(const Kernels& kernels, u32 flags, const std::vector<u32>& padding, Forward forward, Backward backward) {
    Tensors tensors(flags, padding);
    // As it was, of which a long one rotates a part.
    const Buffer<u16> qkv = tensors.qkv;
    forward(tensors);

    // The backward pass gets what the forward pass should have given, so that each is judged alone.
    std::string name = described(flags);
    std::vector<Head> heads;
    {
        Outcome result(kernels.forward + name), sums(kernels.forward + "/lse" + name);
        result.guarded(tensors.out), sums.guarded(tensors.lse);
        for (u32 block = 0; block < SAMPLES * HEADS; block++) {
            u32 sample = block / HEADS, of = block % HEADS;
            double slope = flags & ALIBI ? SLOPES[of] : 0.0;
            heads.push_back({{WIDTH, padding[sample], (flags & CAUSAL) != 0, (flags & ROPE) != 0, tensors.params.scale,
                              slope, tensors.angles.data()}});
            Head& head = heads.back();
            head.q = rows_of(qkv, sample, 0, 3, of), head.k = rows_of(qkv, sample, 1, 3, of);
            head.v = rows_of(qkv, sample, 2, 3, of);
            for (u32 at = 0; at < WIDTH * WIDTH && (flags & DROPOUT); at++)
                head.mask[at] = drawn(DROPPING, block * WIDTH * WIDTH + at);
            head.forward();
            compare(result, tensors.out, sample, 0, 1, of, head.out, head.out_noise);
            for (u32 column = 0; column < WIDTH; column++) {
                u32 at = block * WIDTH + column;
                if (kernels.keeps) sums.near_f32(at, tensors.lse[at], head.lse[column], head.lse_noise[column]);
                tensors.lse.data()[at] = (float)head.lse[column];
                for (u32 i = 0; i < HD; i++)
                    put(tensors.out, place(sample, column, 0, 1, of) + i, 1, head.out[column][i]);
            }
        }
    }

    if (!kernels.keeps) return;
    backward(tensors);
    Outcome of_q(kernels.queries + "/q" + name), of_k(kernels.keys + "/k" + name), of_v(kernels.keys + "/v" + name);
    of_q.guarded(tensors.grad_qkv);
    for (u32 block = 0; block < SAMPLES * HEADS; block++) {
        u32 sample = block / HEADS, of = block % HEADS;
        const Rows out = rows_of(tensors.out, sample, 0, 1, of), grad = rows_of(tensors.grad, sample, 0, 1, of);
        HeadGradients wanted(heads[block], out, grad);
        compare(of_q, tensors.grad_qkv, sample, 0, 3, of, wanted.q, wanted.q_noise);
        compare(of_k, tensors.grad_qkv, sample, 1, 3, of, wanted.k, wanted.k_noise);
        compare(of_v, tensors.grad_qkv, sample, 2, 3, of, wanted.v, wanted.v_noise);
    }
}
