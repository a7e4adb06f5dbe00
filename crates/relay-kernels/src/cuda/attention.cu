// Attention of one (batch, head) by one block, forward and backward, on bf16 tensor cores.
//
// Queries and keys are rotated on the way to shared memory, whose matrices have ROWS rows. Warp w owns the rows 16 w to
// 16 w + 15: of queries, or of keys in the main loop of backward.
//
// With SLABS, out is as the left operand of `project_mlp` instead: see pipeline.cuh, and nothing is kept for a
// backward pass. Its rows are those of all samples one after the other, a head's columns are those of a slab.
//
// Defines: TILES = ceil(width / 16), 1 to 8. POSSIBLE: the flags that may be set, so that nothing is done for the others.
// SLABS = 1 (or 0), without SPLIT.
// Launch: batch * heads blocks of 32 * TILES threads, with dynamic shared memory of, in bytes,
//   forward   3 * ROWS * PITCH * 2
//   backward  3 * ROWS * PITCH * 2 + ROWS * max(PITCH, SCORE_PITCH) * 2 + ROWS * 8

#ifndef TILES
#define TILES 5
#endif
#ifndef SLABS
#define SLABS 0
#endif

#define ROWS (16 * TILES)
#define THREADS (32 * TILES)
#define SCORE_PITCH (PARTS * ROWS + 8)
#ifndef POSSIBLE
#define POSSIBLE (CAUSAL | ROPE | ALIBI | DROPOUT)
#endif

// Copies q, k and v of this block's head to shared memory, q and k rotated. The copy of v goes on in the
// background. qkv points at q of column 0; parts (q, k, v) are part_stride apart, columns three times
// that, what is left of them with SPLIT in between.
__device__ __forceinline__ void load_qkv(const u16* __restrict__ qkv, const float2* __restrict__ angles,
                                         u32 part_stride, u32 width, u32 flags, u16* q, u16* k, u16* v) {
#pragma unroll
    for (int turn = 0; turn < PIECES / 2; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / PIECES, column = unit % PIECES * 8;
        bool valid = row < width;
        const u16* from = qkv + (valid ? (row * 3 * PARTS + 2) * part_stride + column : 0);
#pragma unroll
        for (int half = 0; half < PARTS; ++half)
            cp_async16(smem_address(v + row * PITCH + column + half * HD), from + half * 3 * part_stride, valid);
    }
    cp_async_commit();

    // A thread takes a piece of the first half and its partner in the second half, of q and of k: the angles
    // are the same. All loads are asked for before the first is waited for.
    const int TURNS = PIECES / 4;
    Piece piece[TURNS][4];
#pragma unroll
    for (int turn = 0; turn < TURNS; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / (PIECES / 2), column = unit % (PIECES / 2) * 8;
        const u16* from = qkv + row * 3 * PARTS * part_stride + column;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            piece[turn][i] = no_piece();
            if (row < width)
                piece[turn][i] = load_piece(from + (i / 2) * part_stride + (i % 2) * (HD / 2), 3 * part_stride);
        }
    }
#pragma unroll
    for (int turn = 0; turn < TURNS; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / (PIECES / 2), column = unit % (PIECES / 2) * 8;
        if ((flags & ROPE) && row < width) {
            float4 angle[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) angle[i] = ((const float4*)(angles + row * (HD / 2) + column))[i];
            rotate_pieces(piece[turn][0], piece[turn][1], angle);
            rotate_pieces(piece[turn][2], piece[turn][3], angle);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i)
            store_piece((i < 2 ? q : k) + row * PITCH + column + (i % 2) * (HD / 2), HD, piece[turn][i]);
    }
}
#ifdef KERNEL_attention_forward
#if SPLIT
// At most 128 registers for 8 tiles, too, so that two blocks fit a multiprocessor.
#define BOUNDS THREADS, 16 / TILES
#else
#define BOUNDS THREADS
#endif
extern "C" __global__ void __launch_bounds__(BOUNDS)
    attention_forward(const u16* __restrict__ qkv, const float2* __restrict__ angles, const u32* __restrict__ pads,
                      const float* __restrict__ slopes, u16* __restrict__ out, float* __restrict__ lse,
                      const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* q = (u16*)smem;
    u16* k = q + ROWS * PITCH;
    u16* v = k + ROWS * PITCH;

    const u32 width = p.width, flags = p.flags & POSSIBLE;
    const u32 batch = blockIdx.x / p.heads, head = blockIdx.x % p.heads;
    const u32 row_stride = p.heads * HD;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int pad = min(pads[batch], (u32)ROWS);

    load_qkv(qkv + (u64)batch * width * 3 * PARTS * row_stride + head * HD, angles, row_stride, width, flags, q, k, v);
    cp_async_wait<0>();
    __syncthreads();

    const bool causal = flags & CAUSAL, dropout = flags & DROPOUT;
    // Scores are kept in units of log 2, for exp2.
    const float scale = p.scale * LOG2_E;
    const float slope = flags & ALIBI ? slopes[head] * LOG2_E : 0.0f;
    const int first_tile = pad / 16, last_tile = causal ? warp : TILES - 1;
    const int query = 16 * warp + lane / 4;
    int last_key[2];
#pragma unroll
    for (int half = 0; half < 2; ++half)
        last_key[half] = causal ? min(query + 8 * half, (int)width - 1) : (int)width - 1;

    Left left[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_left(left[step], smem_address(q), 16 * warp, step, lane);

    float scores[TILES][2][4];
    float most[2] = {-INFINITE, -INFINITE};
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
        if (tile < first_tile || tile > last_tile) continue;
        clear(scores[tile]);
#pragma unroll
        for (int step = 0; step < STEPS; ++step)
            multiply_transposed(scores[tile], left[step], smem_address(k), 16 * tile, step, lane);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const int half = i / 2 % 2;
            const int key = 16 * tile + 8 * (i / 4) + 2 * (lane % 4) + i % 2;
            float& score = scores[tile][i / 4][i % 4];
            float distance = fabsf((float)(query + 8 * half) - (float)key);
            score = key >= pad && key <= last_key[half] ? score * scale - slope * distance : -INFINITE;
            most[half] = fmaxf(most[half], score);
        }
    }

    // Four lanes share a row. Where no key is visible, 0 stands for the maximum: minus infinity minus itself
    // would not be a number.
    float sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 1));
        most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 2));
        if (most[half] == -INFINITE) most[half] = 0.0f;
    }

    const u32 first_index = (blockIdx.x * width + query) * width + 2 * (lane % 4);
    float total[PIECES][4];
    clear(total);
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
        if (tile < first_tile || tile > last_tile) continue;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const int half = i / 2 % 2;
            float& score = scores[tile][i / 4][i % 4];
            score = exp2_fast(score - most[half]);
            sum[half] += score;
            if (dropout)
                score *= mask_factor(p.mask, first_index + 8 * half * width + 16 * tile + 8 * (i / 4) + i % 2);
        }
        Left weights;
        round_tile(weights, scores[tile]);
        multiply_add(total, weights, smem_address(v), 16 * tile, lane);
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
        // By the columns and not by the sum: where all visible scores are minus infinity that is 0, too, and the row no number.
        const bool sees = pad <= last_key[half];
        const float inverse = sees ? 1.0f / sum[half] : 0.0f;
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
            total[piece][2 * half] *= inverse;
            total[piece][2 * half + 1] *= inverse;
        }
        const u32 row = query + 8 * half;
        if (!SLABS && lane % 4 == 0 && row < width)
            lse[blockIdx.x * width + row] = sees ? (most[half] + __log2f(sum[half])) * LN_2 : INFINITE;
    }
    // This warp alone reads its rows of q, and has done so.
#if SLABS
    auto place = [&](u32 row, u32 column) {
        u32 line = batch * width + row;
        return out + ((u64)(line / 128) * p.heads + head) * 128 * HD + line % 128 * HD + (column ^ line % 8 * 8);
    };
    write_rows(total, q, place, 0, width, 16 * warp, lane);
#else
    const u32 stride = PARTS * row_stride;
    write_rows(total, q, out + (u64)batch * width * stride + head * HD, stride, width, 16 * warp, lane);
#endif
}
#endif

// At most 128 registers, for 16 warps on a multiprocessor. With SPLIT shared memory has room for fewer, which may have
// more registers each; of 6 tiles it has room for one block.
#define WARPS (SPLIT ? (TILES == 6 ? 6 : 12) : 16)
#ifdef KERNEL_attention_backward
extern "C" __global__ void __launch_bounds__(THREADS, WARPS / TILES)
    attention_backward(const u16* __restrict__ qkv, const float2* __restrict__ angles, const u32* __restrict__ pads,
                       const float* __restrict__ slopes, const u16* __restrict__ out, const u16* __restrict__ dout,
                       const float* __restrict__ lse, u16* __restrict__ dqkv,
                       const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* q = (u16*)smem;
    u16* k = q + ROWS * PITCH;
    u16* grad = k + ROWS * PITCH;
    // v, then dS^T [key, query], once every warp holds its rows of v in registers.
    u16* v = grad + ROWS * PITCH;
    u16* score_grad = v;
    float* row_lse = (float*)(v + ROWS * (PITCH > SCORE_PITCH ? PITCH : SCORE_PITCH));
    float* row_delta = row_lse + ROWS;

    const u32 width = p.width, flags = p.flags & POSSIBLE;
    const u32 batch = blockIdx.x / p.heads, head = blockIdx.x % p.heads;
    const u32 row_stride = p.heads * HD;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int pad = min(pads[batch], (u32)ROWS);
    const u32 out_stride = PARTS * row_stride, qkv_stride = 3 * out_stride;
    const u64 out_start = (u64)batch * width * out_stride + head * HD;
    const u64 qkv_start = (u64)batch * width * qkv_stride + head * HD;

    load_qkv(qkv + qkv_start, angles, row_stride, width, flags, q, k, v);
    for (u32 row = threadIdx.x; row < ROWS; row += THREADS)
        row_lse[row] = row < width ? lse[blockIdx.x * width + row] * LOG2_E : INFINITE;
    // dout, and delta on the way: the PIECES lanes that load a row add up their parts.
#pragma unroll
    for (int turn = 0; turn < PIECES / 2; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / PIECES, column = unit % PIECES * 8;
        Piece a = no_piece(), b = a;
        if (row < width) {
            a = load_piece(dout + out_start + row * out_stride + column, row_stride);
            b = load_piece(out + out_start + row * out_stride + column, row_stride);
        }
        store_piece(grad + row * PITCH + column, HD, a);
        float delta = dot(a, b);
#pragma unroll
        for (int step = 1; step < PIECES; step *= 2) delta += __shfl_xor_sync(0xffffffffu, delta, step);
        if (column == 0) row_delta[row] = delta;
    }
    cp_async_wait<0>();
    __syncthreads();

    const bool causal = flags & CAUSAL, dropout = flags & DROPOUT;
    const float scale = p.scale * LOG2_E;
    const float slope = flags & ALIBI ? slopes[head] * LOG2_E : 0.0f;

    // By keys: this warp's keys against all queries, so with S, P and dS transposed.
    const int key = 16 * warp + lane / 4;
    Left value_left[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_left(value_left[step], smem_address(v), 16 * warp, step, lane);
    __syncthreads();

    // The first query that sees a key, beyond all queries if none does. Queries from width on have an infinite
    // lse.
    int first_query[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int at = key + 8 * half;
        first_query[half] = at >= pad && at < (int)width ? (causal ? at : 0) : ROWS;
    }
    // Tiles of keys that are all padding are left out, here and below.
    const int first_tile = pad / 16;
    const u32 first_index = (blockIdx.x * width + 2 * (lane % 4)) * width + key;

    float key_total[PIECES][4], value_total[PIECES][4];
    clear(key_total);
    clear(value_total);
#pragma unroll 1
    for (int tile = warp < first_tile ? TILES : (causal ? warp : 0); tile < TILES; ++tile) {
        float weights[2][4], gradients[2][4];
        clear(weights);
        clear(gradients);
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            // Loaded anew for each tile: registers are what limits the warps at work.
            Left key_left;
            load_left(key_left, smem_address(k), 16 * warp, step, lane);
            multiply_transposed(weights, key_left, smem_address(q), 16 * tile, step, lane);
            multiply_transposed(gradients, value_left[step], smem_address(grad), 16 * tile, step, lane);
        }
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const int query = 16 * tile + 8 * side + 2 * (lane % 4);
            const float2 lse_pair = *(const float2*)(row_lse + query);
            const float2 delta_pair = *(const float2*)(row_delta + query);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int half = i / 2, next = i % 2;
                float distance = fabsf((float)(query + next) - (float)(key + 8 * half));
                float score = weights[side][i] * scale - slope * distance - (next ? lse_pair.y : lse_pair.x);
                float weight = query + next >= first_query[half] ? exp2_fast(score) : 0.0f;
                float factor = 1.0f;
                if (dropout)
                    factor = mask_factor(p.mask, first_index + (16 * tile + 8 * side + next) * width + 8 * half);
                weights[side][i] = weight * factor;
                gradients[side][i] = weight * (factor * gradients[side][i] - (next ? delta_pair.y : delta_pair.x));
            }
        }
        Left left;
        round_tile(left, weights);
        multiply_add(value_total, left, smem_address(grad), 16 * tile, lane);
        round_tile(left, gradients);
#pragma unroll
        for (int i = 0; i < 4 * PARTS; ++i) {
            const int column = 16 * tile + 8 * (i / 2 % 2) + 2 * (lane % 4) + i / 4 * ROWS;
            *(u32*)(score_grad + (key + 8 * (i % 2)) * SCORE_PITCH + column) = left[i / 4][i % 4];
        }
        multiply_add(key_total, left, smem_address(q), 16 * tile, lane);
    }
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
        for (int i = 0; i < 4; ++i) key_total[piece][i] *= p.scale;
    if (flags & ROPE) rotate_back(key_total, angles, width, key, lane % 4);
    // From here on only k and dS are read by other warps.
    __syncthreads();
    write_rows(value_total, grad, dqkv + qkv_start + 2 * row_stride, qkv_stride, width, 16 * warp, lane);
    write_rows(key_total, q, dqkv + qkv_start + row_stride, qkv_stride, width, 16 * warp, lane);

    // By queries: dq of this warp's queries, from the dS of all warps.
    float query_total[PIECES][4];
    clear(query_total);
    const int last_tile = causal ? warp : TILES - 1;
#pragma unroll 1
    for (int tile = first_tile; tile <= last_tile; ++tile) {
        Left left;
#pragma unroll
        for (int half = 0; half < PARTS; ++half) {
            const int column = 16 * warp + half * ROWS;
            ldmatrix_x4_trans(left[half][0], left[half][1], left[half][2], left[half][3],
                              place_by_columns(smem_address(score_grad), 16 * tile, column, SCORE_PITCH, lane));
        }
        multiply_add(query_total, left, smem_address(k), 16 * tile, lane);
    }
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
        for (int i = 0; i < 4; ++i) query_total[piece][i] *= p.scale;
    if (flags & ROPE) rotate_back(query_total, angles, width, key, lane % 4);
    write_rows(query_total, q, dqkv + qkv_start, qkv_stride, width, 16 * warp, lane);
}
#endif
