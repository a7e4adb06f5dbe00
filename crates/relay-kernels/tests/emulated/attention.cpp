// Attention, as attention.rs launches it, for one width and the number of tiles that fits it.
#include "check.h"

#include "common.cuh"
#include "rows.cuh"
#include "attention.cuh"
#include "attention.cu"

#include "attention_case.h"

static_assert(TILES == (WIDTH + 15) / 16, "tests.txt has another number of tiles");
constexpr size_t THREE = 3 * ROWS * PITCH * 2;
constexpr size_t SCORES = ROWS * (PITCH > SCORE_PITCH ? PITCH : SCORE_PITCH) * 2;

// Where a number of what attention brings together is in slabs of 128 rows and a head's columns, as wgmma reads them.
static size_t place_in_slab(u32 row, u32 head, u32 i) {
    return (row / 128 * HEADS + head) * 128 * HD + row % 128 * HD + (i / 8 ^ row % 8) * 8 + i % 8;
}

static void forward(Tensors& t) {
    u32 rows = SAMPLES * WIDTH;
    Buffer<u16> slabs((rows + 127) / 128 * 128 * D_MODEL);
    machine::launch({SAMPLES * HEADS, 1, 1}, THREADS, THREE, [&] {
        u16* out = SLABS ? slabs.data() : t.out.data();
        float* kept = SLABS ? nullptr : t.lse.data();
        attention_forward(t.qkv.data(), t.angles.data(), t.pads.data(), t.slopes.data(), out, kept, t.params);
    });
    if (!SLABS) return;
    // Every number has its place, and nothing else is written.
    std::vector<bool> written(slabs.size());
    for (u32 row = 0; row < rows; row++)
        for (u32 at = 0; at < D_MODEL; at++) {
            size_t from = place_in_slab(row, at / HD, at % HD);
            t.out.data()[row * D_MODEL + at] = slabs[from], written[from] = true;
        }
    Outcome rest("attention_forward/rest of slabs" + described(t.params.flags));
    rest.guarded(slabs);
    for (size_t at = 0; at < slabs.size(); at++)
        if (!written[at]) rest.unwritten(slabs, at);
}
static void backward(Tensors& t) {
    machine::launch({SAMPLES * HEADS, 1, 1}, THREADS, THREE + SCORES + ROWS * 8, [&] {
        attention_backward(t.qkv.data(), t.angles.data(), t.pads.data(), t.slopes.data(), t.out.data(), t.grad.data(),
                           t.lse.data(), t.grad_qkv.data(), t.params);
    });
}

int main() {
    // A sample without padding, one with some, and one that is nothing else.
    std::vector<u32> some = {0, WIDTH > 40 ? 37 : WIDTH / 2, WIDTH};
    for (u32 flags : {0u, CAUSAL, ROPE, CAUSAL | ROPE | DROPOUT, ALIBI | DROPOUT, CAUSAL | ALIBI})
        attention({"attention_forward", "attention_backward", "attention_backward", !SLABS}, flags, some, forward, backward);
    for (u32 flags : {0u, CAUSAL})
        without_a_number({"attention_forward", "", "", !SLABS}, flags, forward);
    return failures != 0;
}
