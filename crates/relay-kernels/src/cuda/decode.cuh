// What the parts of decode.cu share: shapes of products, the layout of shared memory, the ring of stages, slots of texts.
//
// Stands behind cluster.cuh in front of it.

#define BLOCKS 8
#define WARPS 8
#define THREADS (32 * WARPS + 32)
#define READERS (32 * WARPS)
#define UNIT 512
#define STAGE 16384
// Units of a warp in a stage of weights.
#define EACH (STAGE / UNIT / WARPS)
// Texts in groups of the eight columns of a product.
#define GROUPS (ROWS / 8)
#define NONE 0xffffffffu

// A product's columns in this block: `PARTS` one after the other, of `TILES` tiles of 16, each tile's sum in `SPLIT` parts.
template <int OUTER, int INNER>
struct Shape {
    static constexpr int ALL = (OUTER + 16 * BLOCKS - 1) / (16 * BLOCKS);
    static constexpr int PARTS = (ALL + WARPS - 1) / WARPS;
    static constexpr int TILES = (ALL + PARTS - 1) / PARTS;
    static constexpr int SPLIT = WARPS / TILES;
    static constexpr int STEPS = INNER / 16;
    static constexpr int COLUMNS = 16 * TILES * PARTS;
    static constexpr int COUNT = PARTS * TILES * STEPS;
    // Units of a stage, of which each warp of those that multiply has EACH, and stages of a part.
    static constexpr int UNITS = EACH * SPLIT * TILES;
    static constexpr int STAGES_OF_PART = (TILES * STEPS + UNITS - 1) / UNITS;
    // From one text to the next of what the parts of sums are in.
    static constexpr int PITCH = COLUMNS + 4;
    static constexpr int SUMS = SPLIT * ROWS * PITCH;
};
typedef Shape<3 * D, D> Qkv;
typedef Shape<D, D> Output;
typedef Shape<M, D> Up;
typedef Shape<D, M> Down;
typedef Shape<VOCAB, D> Head;
__device__ constexpr int larger(int a, int b) { return a > b ? a : b; }

// Heads of texts that are this block's. PAIRS at a time are attended to, each by two warps.
#define HELD (ROWS * HEADS / BLOCKS)
#define PAIRS (WARPS / 2)
#define PASSES ((HELD + PAIRS - 1) / PAIRS)
// Bytes of a column's key and value, its pieces, columns of a stage, and of each of its two warps.
#define COLUMN (4 * HD)
#define PIECES (HD / 4)
#define FETCHED (STAGE / COLUMN)
#define SHARE (FETCHED / 2)

// Shared memory, by its first bytes. Pitches of matrices are odd numbers of 16 bytes.
#define PITCH_D (D + 8)
#define PITCH_M (M + 8)
#define X_AT (STAGES * STAGE)
#define MIDDLE_AT (X_AT + ROWS * D * 4)
#define NORMED_AT (MIDDLE_AT + ROWS * D * 4)
#define OUT_AT (NORMED_AT + ROWS * PITCH_D * 2)
#define HIDDEN_AT (OUT_AT + ROWS * PITCH_D * 2)
#define QKV_AT (HIDDEN_AT + ROWS * PITCH_M * 2)
#define CURRENT_AT (QKV_AT + HELD * 3 * HD * 4)
#define MERGE_AT (CURRENT_AT + PAIRS * COLUMN)
#define MERGE_PITCH (HD + 4)
#define TOP_AT (MERGE_AT + 2 * PAIRS * 2 * MERGE_PITCH * 4)
#define SLOTS_AT (TOP_AT + ROWS * BLOCKS * 16)
#define TAKEN_AT (SLOTS_AT + ROWS * 32)
#define BARRIERS_AT (TAKEN_AT + ROWS * 4 + 16)
#define SUMS_AT (BARRIERS_AT + (2 * STAGES + 8) * 8)
#define SHARED \
    (SUMS_AT + 4 * larger(larger(Qkv::SUMS, Head::SUMS), larger(Output::SUMS, larger(Up::SUMS, Down::SUMS))))

__device__ __forceinline__ unsigned char* shared_at(u32 at) {
    extern __shared__ __align__(1024) unsigned char memory[];
    return memory + at;
}
template <typename T>
__device__ __forceinline__ T* shared(u32 at) {
    return (T*)shared_at(at);
}

// What blocks wait for from the cluster, and the fetching warp from the others.
enum Event { QKV_CAME, OUT_CAME, MIDDLE_CAME, HIDDEN_CAME, X_CAME, TOP_CAME, TEXTS_CAME, SLOTS_KNOWN, NOTHING };
__device__ __forceinline__ u32 event(int which) { return smem_address(shared_at(BARRIERS_AT + (2 * STAGES + which) * 8)); }

__device__ __forceinline__ u32 lane_of() { return threadIdx.x & 31; }
__device__ __forceinline__ u32 warp_of() { return threadIdx.x >> 5; }
__device__ __forceinline__ void readers_sync() { some_sync(1, READERS); }

// Waits until `bytes` have come for the `turn`th time.
__device__ __forceinline__ void receive(int which, u32 bytes, u32 turn) {
    if (threadIdx.x == 0) barrier_expect(event(which), bytes);
    barrier_wait(event(which), turn & 1);
}
__device__ __forceinline__ void send(u32 at, uint4 value, int which, u32 rank) {
    send16(remote(smem_address(shared_at(at)), rank), value, remote(event(which), rank));
}

// The ring of stages: which is next, and in the how manieth turn, odd or even.
struct Ring {
    u32 slot, parity;

    __device__ __forceinline__ u32 place() const { return slot * STAGE; }
    __device__ __forceinline__ u32 filled() const { return smem_address(shared_at(BARRIERS_AT + slot * 8)); }
    __device__ __forceinline__ u32 emptied() const { return smem_address(shared_at(BARRIERS_AT + (STAGES + slot) * 8)); }
    __device__ __forceinline__ void go_on() {
        if (++slot == STAGES) slot = 0, parity ^= 1;
    }
    // Every warp takes and gives every stage, also those that it does not read: parity tells nothing of what is further away.
    __device__ __forceinline__ void take() const { barrier_wait(filled(), parity); }
    __device__ __forceinline__ void give() {
        __syncwarp();
        if (lane_of() == 0) barrier_arrive(emptied());
        go_on();
    }
    __device__ __forceinline__ void fetch(const void* from, u32 bytes) {
        barrier_wait(emptied(), parity ^ 1);
        if (bytes > 0) {
            barrier_expect(filled(), bytes);
            bulk_copy(smem_address(shared_at(place())), from, bytes, filled());
        } else {
            barrier_arrive(filled());
        }
        go_on();
    }
};

// A place for a text.
struct Slot {
    // The text, or NONE; the column that is next, the token in it.
    u32 text, column, token;
    // The text's prompt and its length, where what is written goes, and how many tokens at most.
    u32 prompt, length, out, limit;
    // In the first slot: whether any has a text.
    u32 any;
};
__device__ __forceinline__ Slot* slots() { return shared<Slot>(SLOTS_AT); }

struct DecodeParams {
    // Number of texts; the token that ends one; columns that a slot has room for; slots of a cluster that are used at first.
    u32 texts, end, layers, longest, share;
    float epsilon, readout_epsilon;
};

// Head `pass * PAIRS + pair` of this block: of which slot, which head. False if there is none.
__device__ __forceinline__ bool held(u32 pass, u32 pair, u32 rank, u32& slot, u32& head) {
    u32 index = (pass * PAIRS + pair) * BLOCKS + rank;
    slot = index / HEADS, head = index % HEADS;
    return pass * PAIRS + pair < HELD;
}
// Columns that head's text has seen; 0 if there is none.
__device__ __forceinline__ u32 seen(u32 pass, u32 pair, u32 rank) {
    u32 slot, head;
    if (!held(pass, pair, rank, slot, head)) return 0;
    return slots()[slot].text == NONE ? 0 : slots()[slot].column;
}
// Rounds of a pass: in each every pair has a stage, full or not.
__device__ __forceinline__ u32 rounds_of(u32 pass, u32 rank) {
    u32 most = 0;
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) most = max(most, seen(pass, pair, rank));
    return (most + FETCHED - 1) / FETCHED;
}
// Keys and values of a slot's head.
__device__ __forceinline__ u16* cached(u16* cache, u32 slot, u32 layer, u32 head, const DecodeParams& p) {
    u64 line = ((u64)(blockIdx.x / BLOCKS * ROWS + slot) * p.layers + layer) * HEADS + head;
    return cache + line * p.longest * (2 * HD);
}
