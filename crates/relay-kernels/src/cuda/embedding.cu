// The rows of a table that tokens name, and what the table learns of them.

struct TableSizes {
    // Tokens, entries of the table, and numbers of an entry.
    u32 tokens, entries, d;
};

// A token outside the table gets zeros, and teaches nothing.
extern "C" __global__ void embed(const float* table, const u32* tokens, float* out, const __grid_constant__ TableSizes p) {
    u32 row = blockIdx.x * 8 + (threadIdx.x >> 5);
    if (row >= p.tokens) return;
    u32 token = tokens[row];
    for (u32 at = (threadIdx.x & 31) * 2; at < p.d; at += 64) {
        float2 value = make_float2(0.0f, 0.0f);
        if (token < p.entries) value = *(const float2*)(table + (u64)token * p.d + at);
        *(float2*)(out + (u64)row * p.d + at) = value;
    }
}

// Adds to each entry the gradients of its tokens.
extern "C" __global__ void embed_backward(const float* grad, const u32* tokens, float* table,
                                          const __grid_constant__ TableSizes p) {
    u32 row = blockIdx.x * 8 + (threadIdx.x >> 5);
    if (row >= p.tokens || tokens[row] >= p.entries) return;
    for (u32 at = (threadIdx.x & 31) * 2; at < p.d; at += 64) {
        float2 value = *(const float2*)(grad + (u64)row * p.d + at);
        add_pair(table + (u64)tokens[row] * p.d + at, value.x, value.y);
    }
}
