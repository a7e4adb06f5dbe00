// Attention by tiles, as attention.rs launches it, for one width.
#include "check.h"

#include "common.cuh"
#include "rows.cuh"
#include "attention.cuh"
#include "attention_long.cuh"
#include "attention_long.cu"
#include "attention_long_backward.cu"

#include "attention_case.h"

constexpr u32 BLOCKS = SAMPLES * HEADS * ((WIDTH + TILE - 1) / TILE);
constexpr size_t BYTES = ROOM * 2;

// What is rotated is compared by itself, as all that follows reads it.
static void rotate(Tensors& t) {
    Buffer<u16> before = t.qkv;
    u32 units = SAMPLES * WIDTH * 2 * HEADS * PIECES / 2;
    machine::launch({(units + 255) / 256, 1, 1}, 256, 0, [&] { rotate_heads(t.qkv.data(), t.angles.data(), t.params); });
    Outcome rotated("rotate_heads" + described(t.params.flags));
    rotated.guarded(t.qkv);
    for (u32 sample = 0; sample < SAMPLES; sample++)
        for (u32 head = 0; head < HEADS; head++)
            for (u32 part = 0; part < 3; part++) {
                Rows wanted = rows_of(before, sample, part, 3, head);
                if (part < 2) rotate(wanted, t.angles.data());
                compare(rotated, t.qkv, sample, part, 3, head, wanted, Rows(WIDTH));
            }
}

static void forward(Tensors& t) {
    if (t.params.flags & ROPE) rotate(t);
    machine::launch({BLOCKS, 1, 1}, THREADS, 5 * BYTES, [&] {
        attention_long_forward(t.qkv.data(), t.pads.data(), t.slopes.data(), t.out.data(), t.lse.data(), t.params);
    });
}
static void backward(Tensors& t) {
    Buffer<float> delta(SAMPLES * HEADS * WIDTH);
    const u32 tiles = (WIDTH + TILE - 1) / TILE;
    Buffer<u32> bits(WITH_DROPOUT ? BLOCKS * tiles * THREADS : 0);
    machine::launch({BLOCKS, 1, 1}, THREADS, 6 * BYTES + TILE * 4, [&] {
        attention_long_queries(t.qkv.data(), t.angles.data(), t.pads.data(), t.slopes.data(), t.out.data(), t.grad.data(),
                               t.lse.data(), delta.data(), bits.data(), t.grad_qkv.data(), t.params);
    });
    Outcome("attention_long_queries/bits" + described(t.params.flags)).guarded(bits);
    machine::launch({BLOCKS, 1, 1}, THREADS, 6 * BYTES + TILE * 32, [&] {
        attention_long_keys(t.qkv.data(), t.angles.data(), t.pads.data(), t.slopes.data(), t.grad.data(), t.lse.data(),
                            delta.data(), bits.data(), t.grad_qkv.data(), t.params);
    });
}

int main() {
    // A sample without padding, one with more than a tile or a block owns, and one that is nothing else.
    const std::vector<u32> some = {0, WIDTH > 200 ? 150 : 70, WIDTH};
    const u32 always = (WITH_SLOPES ? ALIBI : 0) | (WITH_DROPOUT ? DROPOUT : 0);
    for (u32 flags : {CAUSAL | ROPE, 0u})
        attention({"attention_long_forward", "attention_long_queries", "attention_long_keys"}, flags | always, some, forward,
                  backward);
    for (u32 flags : {CAUSAL, 0u}) without_a_number({"attention_long_forward", "", ""}, flags | always, forward);
    return failures != 0;
}
