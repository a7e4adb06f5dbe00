// The functions of wgmma.cuh that stand for instructions of a warpgroup: 128 lanes that multiply matrices in shared memory.
//
// A product is done when it is waited for, as late as is allowed: what it reads must be there until then.
#pragma once
#include "barrier.h"

namespace machine {

constexpr u32 WARPGROUP = 128;

// Where an operand is, as the PTX ISA lays out descriptors of matrices for sm_90. Rows of 128 bytes lie in groups of
// eight, whose chunks of 16 bytes are permuted by the row: bits 7 to 9 of an address flip its bits 4 to 6.
struct Operand {
    u32 start, leading, stride;

    explicit Operand(u64 descriptor) {
        start = (descriptor & 0x3fff) << 4;
        leading = (descriptor >> 16 & 0x3fff) << 4;
        stride = (descriptor >> 32 & 0x3fff) << 4;
        // Bits 49 to 51 are for patterns that begin elsewhere than at a multiple of 1024 bytes.
        if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) forbidden("a layout that is not emulated");
    }

    // Number `k` of the inner dimension in row or column `outer`. A row in memory holds the inner dimension, or if it is
    // the slow one 64 of the outer dimension.
    float at(u32 outer, u32 k, bool transposed) const {
        u32 address = start;
        if (transposed) address += outer / 64 * leading + outer % 64 * 2 + k / 8 * stride + k % 8 * 128;
        else address += outer / 8 * stride + outer % 8 * 128 + k * 2;
        address ^= (address >> 7 & 7) << 4;
        return half_of(*(const u16*)at_shared(address, 2), 0);
    }
};

// Both operands of a product as they are in shared memory, or in the registers of the lanes.
struct Numbers {
    Product of;
    float left[64][16], right[256][16];

    Numbers(const Product& product, const u32 (*registers)[4]) : of(product) {
        Operand b(product.right);
        for (u32 k = 0; k < 16; k++) {
            for (u32 row = 0; row < 64; row++) left[row][k] = product.held ? held(registers, row, k) : of_shared(row, k);
            for (u32 column = 0; column < of.columns; column++) right[column][k] = b.at(column, k, product.transposed);
        }
    }
    float of_shared(u32 row, u32 k) const { return Operand(of.left).at(row, k, of.transposed); }
    static float held(const u32 (*registers)[4], u32 row, u32 k) {
        const u32* words = registers[row / 16 * 32 + row % 8 * 4 + k % 8 / 2];
        return half_of(words[row % 16 / 8 + k / 8 * 2], k % 2);
    }

    // Adds the half of a row's results that this lane holds.
    void add_to(float* sum) const {
        u32 lane = threadIdx.x % 32, first = threadIdx.x % WARPGROUP / 32 * 16 + lane / 4;
        for (u32 i = 0; i < of.columns / 2; i++) {
            if (!of.add) sum[i] = 0.0f;
            const float* a = left[first + i / 2 % 2 * 8];
            const float* b = right[i / 4 * 8 + lane % 4 * 2 + i % 2];
            for (u32 k = 0; k < 16; k++) sum[i] += a[k] * b[k];
        }
    }
};

struct Warpgroup {
    Meeting meeting;
    std::vector<Numbers> numbers;
    // Of each product what its lanes hold.
    u32 registers[64][WARPGROUP][4];
};
inline Warpgroup warpgroups[1024 / WARPGROUP];

}  // namespace machine

// What these order is in order anyway where one lane runs at a time.
inline void wgmma_fence() {}
inline void shared_fence() {}

// d[64, 2 HALF] (+)= a[64, 16] * b[16, 2 HALF].
template <int TRANSPOSED, int HALF>
inline void wgmma(float (&d)[HALF], u64 a, u64 b, bool add) {
    static_assert(HALF == 64 || HALF == 128, "columns that the kernels have no instruction for");
    machine::lane().products.add({d, a, b, 2 * HALF, TRANSPOSED != 0, add, false, {}});
}
inline void wgmma_left(float (&d)[64], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {
    machine::lane().products.add({d, 0, b, 128, false, true, true, {a0, a1, a2, a3}});
}
template <int HALF>
inline void wgmma_results(float (&)[HALF]) {
    static_assert(HALF == 64 || HALF == 128, "sums that the kernels have no fence for");
}
inline void wgmma_commit() { machine::lane().products.commit(); }
template <int PENDING>
inline void wgmma_wait() {
    using namespace machine;
    Warpgroup& group = warpgroups[threadIdx.x / WARPGROUP];
    std::vector<Product> products = lane().products.due(PENDING);
    if (products.size() > 64) forbidden("more products at once than are emulated");
    for (size_t i = 0; i < products.size(); i++)
        memcpy(group.registers[i][threadIdx.x % WARPGROUP], products[i].registers, sizeof products[i].registers);
    // The last to come reads the operands for all.
    if (group.meeting.arrived + 1 == WARPGROUP) {
        group.numbers.clear();
        for (size_t i = 0; i < products.size(); i++) group.numbers.emplace_back(products[i], group.registers[i]);
    }
    meet(group.meeting, WARPGROUP);
    bool same = group.numbers.size() == products.size();
    for (size_t i = 0; same && i < products.size(); i++) {
        const Product& other = group.numbers[i].of;
        same = other.left == products[i].left && other.right == products[i].right && other.held == products[i].held;
    }
    if (!same) forbidden("lanes of a warpgroup have begun different products");
    for (size_t i = 0; i < products.size(); i++) group.numbers[i].add_to(products[i].sum);
}

// Nothing that can be seen.
template <int COUNT>
inline void fewer_registers() {}
template <int COUNT>
inline void more_registers() {}
