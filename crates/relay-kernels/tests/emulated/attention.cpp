// Attention, as rows.rs launches it, for one width and the number of tiles that fits it.
#include "check.h"

#include "common.cuh"
#include "attention.cu"

#include "attention_exactly.h"

constexpr u32 SAMPLES = 3, HEADS = 2, D_MODEL = HEADS * HD;
static_assert(TILES == (WIDTH + 15) / 16, "tests.txt has another number of tiles");
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

// Where a number of what attention brings together is: in slabs of 128 rows and a head's columns, as wgmma reads them, or
// in rows.
static size_t place_of_out(u32 sample, u32 column, u32 head, u32 i) {
    size_t row = (size_t)sample * WIDTH + column;
    if (SLABS) return (row / 128 * HEADS + head) * 128 * HD + row % 128 * HD + (i / 8 ^ row % 8) * 8 + i % 8;
    return row * D_MODEL + head * HD + i;
}

// Where a head's row begins, in [samples, width, parts, heads, HD].
static size_t place(u32 sample, u32 column, u32 part, u32 parts, u32 head) {
    return (((size_t)sample * WIDTH + column) * parts + part) * D_MODEL + head * HD;
}
static Rows rows_of(const Buffer<u16>& buffer, u32 sample, u32 part, u32 parts, u32 head) {
    Rows rows(WIDTH);
    for (u32 column = 0; column < WIDTH; column++)
        for (u32 i = 0; i < HD; i++) rows[column][i] = from_half(buffer[place(sample, column, part, parts, head) + i]);
    return rows;
}
// What attention has brought together, in rows, and nothing else.
static Buffer<u16> in_rows(const Buffer<u16>& out, Outcome& outcome) {
    Buffer<u16> rows(SAMPLES * WIDTH * D_MODEL);
    std::vector<bool> written(out.size());
    for (u32 sample = 0; sample < SAMPLES; sample++)
        for (u32 column = 0; column < WIDTH; column++)
            for (u32 at = 0; at < D_MODEL; at++) {
                size_t from = place_of_out(sample, column, at / HD, at % HD);
                rows.data()[(sample * WIDTH + column) * D_MODEL + at] = out[from], written[from] = true;
            }
    for (size_t at = 0; at < out.size(); at++)
        if (!written[at]) outcome.unwritten(out, at);
    return rows;
}
static void compare(Outcome& outcome, const Buffer<u16>& buffer, u32 sample, u32 part, u32 parts, u32 head,
                    const Rows& wanted, const Rows& noise) {
    for (u32 column = 0; column < WIDTH; column++)
        for (u32 i = 0; i < HD; i++) {
            size_t at = place(sample, column, part, parts, head) + i;
            outcome.near_bf16(at, from_half(buffer[at]), wanted[column][i], noise[column][i]);
        }
}

// `padding` are the columns of padding at the beginning of each sample.
static void attention(u32 flags, const std::vector<u32>& padding) {
    std::string name = "/" + std::to_string(WIDTH) + (SLABS ? ",slabs" : "");
    if (flags & CAUSAL) name += ",causal";
    if (flags & ROPE) name += ",rope";
    if (flags & ALIBI) name += ",slopes";
    if (flags & DROPOUT) name += ",dropout";
    u32 columns = SAMPLES * WIDTH;
    Buffer<u16> qkv(random_halves(columns * 3 * D_MODEL, 1, 2.0f));
    Buffer<u16> out((SLABS ? (columns + 127) / 128 * 128 : columns) * D_MODEL);
    Buffer<float> lse(SAMPLES * HEADS * WIDTH), slopes(std::vector<float>(SLOPES, SLOPES + HEADS));
    Buffer<float2> angles(angles_of_columns());
    Buffer<u32> pads(padding);
    AttentionParams params = {SAMPLES, WIDTH, HEADS, flags, 1.0f / std::sqrt((float)HD), DROPPING};
    size_t three = 3 * 16 * TILES * (HD + 8) * 2, rows = 16 * TILES;
    machine::launch({SAMPLES * HEADS, 1, 1}, 32 * TILES, three, [&] {
        float* kept = SLABS ? nullptr : lse.data();
        attention_forward(qkv.data(), angles.data(), pads.data(), slopes.data(), out.data(), kept, params);
    });

    // The backward pass gets what the forward pass should have given, so that each is judged alone.
    std::vector<Head> heads;
    std::vector<u16> exact_out(out.size());
    std::vector<float> exact_lse;
    {
        Outcome result("attention_forward" + name), sums("attention_forward/lse" + name);
        result.guarded(out), sums.guarded(lse);
        Buffer<u16> rows = in_rows(out, result);
        for (u32 block = 0; block < SAMPLES * HEADS; block++) {
            u32 sample = block / HEADS, of = block % HEADS;
            double slope = flags & ALIBI ? SLOPES[of] : 0.0;
            heads.push_back({{WIDTH, padding[sample], (flags & CAUSAL) != 0, (flags & ROPE) != 0, params.scale, slope,
                              angles.data()}});
            Head& head = heads.back();
            head.q = rows_of(qkv, sample, 0, 3, of), head.k = rows_of(qkv, sample, 1, 3, of);
            head.v = rows_of(qkv, sample, 2, 3, of);
            for (u32 at = 0; at < WIDTH * WIDTH && (flags & DROPOUT); at++)
                head.mask[at] = drawn(DROPPING, block * WIDTH * WIDTH + at);
            head.forward();
            compare(result, rows, sample, 0, 1, of, head.out, head.out_noise);
            for (u32 column = 0; column < WIDTH; column++) {
                u32 at = block * WIDTH + column;
                if (!SLABS) sums.near_f32(at, lse[at], head.lse[column], head.lse_noise[column]);
                exact_lse.push_back((float)head.lse[column]);
                for (u32 i = 0; i < HD; i++)
                    exact_out[place(sample, column, 0, 1, of) + i] = to_half((float)head.out[column][i]);
            }
        }
    }

    if (SLABS) return;
    Buffer<u16> saved(exact_out), grad(random_halves(out.size(), 2)), grad_qkv(qkv.size());
    Buffer<float> saved_lse(exact_lse);
    size_t score_pitch = rows + 8, wider = score_pitch > HD + 8 ? score_pitch : HD + 8;
    machine::launch({SAMPLES * HEADS, 1, 1}, 32 * TILES, three + rows * wider * 2 + rows * 8, [&] {
        attention_backward(qkv.data(), angles.data(), pads.data(), slopes.data(), saved.data(), grad.data(),
                           saved_lse.data(), grad_qkv.data(), params);
    });
    Outcome of_q("attention_backward/q" + name), of_k("attention_backward/k" + name), of_v("attention_backward/v" + name);
    of_q.guarded(grad_qkv);
    for (u32 block = 0; block < SAMPLES * HEADS; block++) {
        u32 sample = block / HEADS, of = block % HEADS;
        HeadGradients wanted(heads[block], rows_of(saved, sample, 0, 1, of), rows_of(grad, sample, 0, 1, of));
        compare(of_q, grad_qkv, sample, 0, 3, of, wanted.q, wanted.q_noise);
        compare(of_k, grad_qkv, sample, 1, 3, of, wanted.k, wanted.k_noise);
        compare(of_v, grad_qkv, sample, 2, 3, of, wanted.v, wanted.v_noise);
    }
}

int main() {
    // A sample without padding, one with some, and one that is nothing else.
    std::vector<u32> some = {0, WIDTH > 40 ? 37 : WIDTH / 2, WIDTH};
    for (u32 flags : {0u, CAUSAL, ROPE, CAUSAL | ROPE | DROPOUT, ALIBI | DROPOUT, CAUSAL | ALIBI}) attention(flags, some);
    return failures != 0;
}
