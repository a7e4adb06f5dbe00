// Weights as the products read them: by rows and transposed, both as rows.cuh has them.

struct PackSizes {
    // Of the matrix; its first column in what it becomes a part of, and the columns of that.
    u32 inputs, outputs, column, total;
};

extern "C" __global__ void pack(const float* w, u16* rows, u16* transposed, const __grid_constant__ PackSizes p) {
    __shared__ u32 tile[32][33];
    u32 x = threadIdx.x & 31, y = threadIdx.x >> 5;
    for (u32 i = y; i < 32; i += 8) {
        u32 input = blockIdx.y * 32 + i, output = blockIdx.x * 32 + x;
        if (input < p.inputs && output < p.outputs) {
            float value = w[(u64)input * p.outputs + output];
            u32 half = pack_bf16(value, 0.0f);
            u64 at = (u64)input * (PARTS * p.total) + p.column + output;
            rows[at] = (u16)half;
#if SPLIT
            half |= left_over(half, value, 0.0f) << 16;
            rows[at + p.total] = (u16)(half >> 16);
#endif
            tile[i][x] = half;
        }
    }
    __syncthreads();
    for (u32 i = y; i < 32; i += 8) {
        u32 input = blockIdx.y * 32 + x, output = blockIdx.x * 32 + i;
        if (input < p.inputs && output < p.outputs) {
            u64 at = (u64)(p.column + output) * (PARTS * p.inputs) + input;
            transposed[at] = (u16)tile[x][i];
#if SPLIT
            transposed[at + p.inputs] = (u16)(tile[x][i] >> 16);
#endif
        }
    }
}

// The way back for gradients, in f32: the columns of one matrix out of several that stand side by side.
extern "C" __global__ void take_columns(const float* all, float* out, const __grid_constant__ PackSizes p) {
    u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= p.inputs * p.outputs) return;
    out[at] = all[(u64)(at / p.outputs) * p.total + p.column + at % p.outputs];
}

struct FragmentSizes {
    // Of the matrix; its first column in the product, tiles of a part, parts, and inner steps of all; where the product
    // begins in a block's units, and their number.
    u32 inputs, outputs, column, tiles, parts, steps, begin, total;
};

// Places a matrix as `decode` reads weights: for each of its blocks 16 columns of a tile and 16 inner numbers are a unit of
// 512 bytes, in which lies side by side what a lane of mma16816 holds of them as columns of a left operand. What is padding
// stays as it is.
extern "C" __global__ void pack_fragments(const float* w, u16* units, const __grid_constant__ FragmentSizes p) {
    u32 index = blockIdx.x * 256 + threadIdx.x;
    if (index >= p.inputs * p.outputs) return;
    u32 inner = index / p.outputs, column = p.column + index % p.outputs;
    u32 tile = column / 16, row = column % 16, block = tile / (p.tiles * p.parts), k = inner % 16;
    tile %= p.tiles * p.parts;
    u64 unit = (u64)block * p.total + p.begin + (tile / p.tiles * p.steps + inner / 16) * p.tiles + tile % p.tiles;
    u32 lane = row % 8 * 4 + k % 8 / 2, word = row / 8 + k / 8 * 2;
    units[unit * 256 + lane * 8 + word * 2 + k % 2] = to_bf16(w[index]);
}

struct ArrangeSizes {
    u32 rows, columns, by_columns;
};

// A matrix in slabs of 128 rows and 64 columns, as pipeline.cuh reads them: those of the same rows one after the other, or
// those of the same columns. Rows beyond its last one are zero.
extern "C" __global__ void arrange(const u16* matrix, u16* slabs, const __grid_constant__ ArrangeSizes p) {
    u32 slab = p.by_columns ? blockIdx.x * gridDim.y + blockIdx.y : blockIdx.y * gridDim.x + blockIdx.x;
    for (u32 piece = threadIdx.x; piece < 1024; piece += 256) {
        u32 row = piece >> 3, chunk = piece & 7, from = blockIdx.y * 128 + row;
        uint4 eight = make_uint4(0, 0, 0, 0);
        if (from < p.rows) eight = *(const uint4*)(matrix + (u64)from * p.columns + blockIdx.x * 64 + chunk * 8);
        *(uint4*)(slabs + (u64)slab * 8192 + row * 64 + ((chunk ^ row) & 7) * 8) = eight;
    }
}
