// Masked cross-entropy of logits, and the ends of a readout's gradients. Logits and their gradients are rows as rows.cuh has
// them.

struct EntropySizes {
    // Rows of logits, tokens, and columns from one row to the next.
    u32 rows, vocab, padded;
};

// Adds the sum over rows of weight * -log softmax(logits + bias)[target] to `loss`; the logits are replaced by their
// gradients, whose columns are added to `sums`. Rows of weight 0 get gradient 0. One warp a row. With JUDGED `right` gets the
// number of rows with a weight added whose target is the most probable token, the first among equals.
extern "C" __global__ void cross_entropy(u16* logits, const float* bias, const int* targets, const float* weights,
                                         float* loss, float* right, float* sums,
                                         const __grid_constant__ EntropySizes p) {
    extern __shared__ float columns[];
    for (u32 at = threadIdx.x; at < p.padded; at += blockDim.x) columns[at] = 0.0f;
    __syncthreads();
    u32 lane = threadIdx.x & 31;
    float total = 0.0f;
#if JUDGED
    float guessed = 0.0f;
#endif
    float2 own[PADDED / 64];
#pragma unroll
    for (int i = 0; i < PADDED / 64; i++) own[i] = make_float2(0.0f, 0.0f);
    for (u32 row = blockIdx.x * 8 + (threadIdx.x >> 5); row < p.rows; row += gridDim.x * 8) {
        u16* line = logits + (u64)row * (PARTS * p.padded);
        float weight = weights[row];
        if (weight == 0.0f) {
#pragma unroll
            for (int i = 0; i < (int)PARTS * PADDED / 64; i++) *(u32*)(line + i * 64 + lane * 2) = 0;
            continue;
        }
        u32 target = (u32)targets[row];
        float2 x[PADDED / 64];
        // What padding has: no logit is less.
        const float LEAST = __int_as_float((int)0xff800000);
        float most = LEAST, wanted = 0.0f;
#pragma unroll
        for (int i = 0; i < PADDED / 64; i++) {
            u32 at = i * 64 + lane * 2;
            float2 pair = get_halves(line + at, p.padded);
            x[i].x = at < p.vocab ? pair.x + bias[at] : LEAST;
            x[i].y = at + 1 < p.vocab ? pair.y + bias[at + 1] : LEAST;
            most = fmaxf(most, fmaxf(x[i].x, x[i].y));
            if (at == target) wanted = x[i].x;
            if (at + 1 == target) wanted = x[i].y;
        }
        most = warp_max(most);
        wanted = warp_sum(wanted);
#if JUDGED
        bool before = false;
#pragma unroll
        for (int i = 0; i < PADDED / 64; i++) {
            u32 at = i * 64 + lane * 2;
            before |= (x[i].x == most && at < target) || (x[i].y == most && at + 1 < target);
        }
        guessed += __ballot_sync(0xffffffffu, before) == 0 && wanted == most ? 1.0f : 0.0f;
#endif
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < PADDED / 64; i++) {
            x[i].x = __expf(x[i].x - most), x[i].y = __expf(x[i].y - most);
            sum += x[i].x + x[i].y;
        }
        sum = warp_sum(sum);
        total += weight * (most + __logf(sum) - wanted);
        float scale = weight / sum;
#pragma unroll
        for (int i = 0; i < PADDED / 64; i++) {
            u32 at = i * 64 + lane * 2;
            float a = x[i].x * scale - (at == target ? weight : 0.0f);
            float b = x[i].y * scale - (at + 1 == target ? weight : 0.0f);
            put_halves(line + at, p.padded, a, b);
            own[i].x += a, own[i].y += b;
        }
    }
#pragma unroll
    for (int i = 0; i < PADDED / 64; i++) {
        atomicAdd(columns + i * 64 + lane * 2, own[i].x);
        atomicAdd(columns + i * 64 + lane * 2 + 1, own[i].y);
    }
    __syncthreads();
    for (u32 at = threadIdx.x; at < p.padded; at += blockDim.x) atomicAdd(sums + at, columns[at]);
    if (lane == 0 && total != 0.0f) atomicAdd(loss, total);
#if JUDGED
    if (lane == 0 && guessed > 0.0f) atomicAdd(right, guessed);
#endif
}

// The most probable token of each row of logits, the first among equals, and its probability; a row of nothing that is a
// number gives token 0 and probability 0. One warp a row.
extern "C" __global__ void greedy(const float* logits, const float* bias, float2* chosen,
                                  const __grid_constant__ EntropySizes p) {
    u32 lane = threadIdx.x & 31;
    u32 row = blockIdx.x * 8 + (threadIdx.x >> 5);
    if (row >= p.rows) return;
    const float* line = logits + (u64)row * p.padded;
    float most = __uint_as_float(0xff800000u), sum = 0.0f;
    u32 best = 0xffffffffu;
    for (u32 at = lane; at < p.vocab; at += 32) {
        float x = line[at] + bias[at];
        if (x > most) most = x, best = at;
    }
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, most, step);
        u32 its = __shfl_xor_sync(0xffffffffu, best, step);
        if (other > most || (other == most && its < best)) most = other, best = its;
    }
    for (u32 at = lane; at < p.vocab; at += 32) sum += __expf(line[at] + bias[at] - most);
    float probability = 1.0f / warp_sum(sum);
    bool known = best < p.vocab && probability <= 1.0f;
    if (lane == 0) chosen[row] = make_float2(best < p.vocab ? (float)best : 0.0f, known ? probability : 0.0f);
}

struct FinishSizes {
    u32 d, vocab, padded;
};

// The gradients of a readout's matrix and bias, without the padding and times what the loss is scaled by.
extern "C" __global__ void finish_readout(const float* padded_weight, const float* sums, const float* scale, float* weight,
                                          float* bias, const __grid_constant__ FinishSizes p) {
    u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at < p.d * p.vocab) weight[at] = *scale * padded_weight[(u64)(at / p.vocab) * p.padded + at % p.vocab];
    if (at < p.vocab) bias[at] = *scale * sums[at];
}
