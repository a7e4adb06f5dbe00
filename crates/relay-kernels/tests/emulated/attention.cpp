// Attention, as attention.rs launches it, for one width and the number of tiles that fits it.
#include "check.h"

#include "common.cuh"
#include "attention.cuh"
#include "attention.cu"

#include "attention_case.h"

static_assert(TILES == (WIDTH + 15) / 16, "tests.txt has another number of tiles");
constexpr size_t THREE = 3 * ROWS * PITCH * 2;
constexpr size_t SCORES = ROWS * (PITCH > SCORE_PITCH ? PITCH : SCORE_PITCH) * 2;

static void forward(Tensors& t) {
    machine::launch({SAMPLES * HEADS, 1, 1}, THREADS, THREE, [&] {
        attention_forward(t.qkv.data(), t.angles.data(), t.pads.data(), t.slopes.data(), t.out.data(), t.lse.data(), t.params);
    });
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
        attention({"attention_forward", "attention_backward", "attention_backward"}, flags, some, forward, backward);
    return failures != 0;
}
