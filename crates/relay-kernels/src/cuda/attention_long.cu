// Long attention forward, and what goes before it. A row's results are rescaled whenever its greatest score grows.
//
// Launch of forward: with dynamic shared memory of 5 * TILE * PITCH * 2 bytes.

#ifdef KERNEL_rotate_heads
// Launch: a thread for 8 numbers and their partners half a head further, of all queries and keys.
extern "C" __global__ void rotate_heads(u16* __restrict__ qkv, const float2* __restrict__ angles,
                                        const __grid_constant__ AttentionParams p) {
    const u32 UNITS = PIECES / 2;
    u32 unit = blockIdx.x * blockDim.x + threadIdx.x;
    u32 column = unit % UNITS * 8, head = unit / UNITS % (2 * p.heads), row = unit / (2 * UNITS * p.heads);
    if (row >= p.batch * p.width) return;
    const u32 to_rest = 3 * p.heads * HD;
    u16* at = qkv + (u64)row * 3 * PARTS * p.heads * HD + head * HD + column;
    Piece first = load_piece(at, to_rest), second = load_piece(at + HD / 2, to_rest);
    float4 angle[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) angle[i] = ((const float4*)(angles + row % p.width * (HD / 2) + column))[i];
    rotate_pieces(first, second, angle);
    store_piece(at, to_rest, first);
    store_piece(at + HD / 2, to_rest, second);
}
#endif

#ifdef KERNEL_attention_long_forward
extern "C" __global__ void __launch_bounds__(THREADS, AT_ONCE)
    attention_long_forward(const u16* __restrict__ qkv, const u32* __restrict__ pads, const float* __restrict__ slopes,
                           u16* __restrict__ out, float* __restrict__ lse, const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* q = (u16*)smem;
    // Two tiles each of keys and values.
    u16* k = q + ROOM;
    u16* v = k + 2 * ROOM;

    const int width = p.width, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool causal = p.flags & CAUSAL;
    // The longest work first, so that none begins late.
    const Place place = place_of(p, causal);
    const int first = place.first, own = first + 16 * warp;
    const int pad = min(pads[place.batch], p.width), end = causal ? min(first + TILE, width) : width;
    const u32 stride = 3 * PARTS * place.row_stride, out_stride = PARTS * place.row_stride;
    const u16* const queries = qkv + place.qkv;

    auto load_keys = [&](int tile) {
        if (tile * TILE < end) {
            load_tile(k + tile % 2 * ROOM, queries + place.row_stride, stride, tile * TILE, width);
            load_tile(v + tile % 2 * ROOM, queries + 2 * place.row_stride, stride, tile * TILE, width);
        }
        cp_async_commit();
    };
    load_tile(q, queries, stride, first, width);
    load_keys(pad / TILE);
    cp_async_wait<0>();
    __syncthreads();
    Left left[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_left(left[step], smem_address(q), 16 * warp, step, lane);

    // Scores are kept as the product has them, and brought to units of log 2 on the way to exp2.
    const float scale = p.scale * LOG2_E;
#if WITH_SLOPES
    const float slope = slopes[place.head] / p.scale;
#endif
    float most[2] = {-INFINITE, -INFINITE}, sum[2] = {0.0f, 0.0f}, total[PIECES][4];
    clear(total);
#if WITH_DROPOUT
    const u32 first_index = ((u32)place.numbers + own) * width;
#endif

#pragma unroll 1
    for (int tile = pad / TILE; tile * TILE < end; ++tile) {
        cp_async_wait<0>();
        __syncthreads();
        load_keys(tile + 1);
        const int from = tile * TILE;
        if (own >= width) continue;

        float scores[STRIPS][2][4];
#pragma unroll
        for (int part = 0; part < STRIPS; ++part) {
            clear(scores[part]);
#pragma unroll
            for (int step = 0; step < STEPS; ++step)
                multiply_transposed(scores[part], left[step], smem_address(k + tile % 2 * ROOM), 16 * part, step, lane);
#if WITH_SLOPES
            each_number(scores[part], lane, [&](float& score, int row, int column, int) {
                score -= slope * fabsf((float)(own + row) - (float)(from + 16 * part + column));
            });
#endif
        }
        if (from < pad || from + TILE > (causal ? own + 1 : width)) {
#pragma unroll
            for (int part = 0; part < STRIPS; ++part)
                each_number(scores[part], lane, [&](float& score, int row, int column, int) {
                    const int key = from + 16 * part + column;
                    if (key < pad || key >= width || (causal && key > own + row)) score = -INFINITE;
                });
        }

        const float before[2] = {most[0], most[1]};
        float base[2];
#pragma unroll
        for (int part = 0; part < STRIPS; ++part)
            each_number(scores[part], lane,
                        [&](float& score, int, int, int half) { most[half] = fmaxf(most[half], score); });
        // Four lanes share a row. Where no key has been visible, 0 stands for the maximum: minus infinity minus itself
        // would not be a number.
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 1));
            most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 2));
            base[half] = most[half] == -INFINITE ? 0.0f : most[half] * scale;
            const float shrink = exp2_fast(before[half] * scale - base[half]);
            sum[half] *= shrink;
#pragma unroll
            for (int piece = 0; piece < PIECES; ++piece) {
                total[piece][2 * half] *= shrink;
                total[piece][2 * half + 1] *= shrink;
            }
        }
#pragma unroll
        for (int part = 0; part < STRIPS; ++part) {
            each_number(scores[part], lane, [&](float& score, int row, int column, int half) {
                score = exp2_fast(score * scale - base[half]);
                sum[half] += score;
#if WITH_DROPOUT
                score *= mask_factor(p.mask, first_index + row * width + from + 16 * part + column);
#endif
            });
            Left weights;
            round_tile(weights, scores[part]);
            multiply_add(total, weights, smem_address(v + tile % 2 * ROOM), 16 * part, lane);
        }
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
        const int query = own + lane / 4 + 8 * half;
        // By the columns and not by the sum: where all visible scores are minus infinity that is 0, too, and the row no number.
        const bool sees = pad < (causal ? min(query + 1, width) : width);
        const float inverse = sees ? 1.0f / sum[half] : 0.0f;
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
            total[piece][2 * half] *= inverse;
            total[piece][2 * half + 1] *= inverse;
        }
        if (lane % 4 == 0 && query < width)
            lse[place.numbers + query] = sees ? most[half] * p.scale + __log2f(sum[half]) * LN_2 : INFINITE;
    }
    // This warp alone reads its rows of q, and has done so.
    u16* const to = out + place.out + (u64)first * out_stride;
    write_rows(total, q, to, out_stride, width - first, 16 * warp, lane);
}
#endif
