// Blocks of CUDA threads on one thread of a CPU, one after the other, or those of a cluster together.
//
// Every CUDA thread, here a lane, is a fiber: a function with a stack of its own, which runs until it has to wait for
// other lanes. One fiber runs at a time, so that nothing here needs a lock, and every run is the same.
//
// What a GPU leaves open is taken to its extremes, changing from block to block: warps run from the first to the last or
// from the last to the first, each as far as it gets before the next; copies in the background are made at once or as
// late as is allowed. A kernel that forgets to wait for something gets NaN, or what it should not have seen yet.
#pragma once
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

struct Index {
    u32 x = 1, y = 1, z = 1;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

namespace machine {

// Prints what a kernel has done that no GPU would allow, and ends the program.
[[noreturn]] void forbidden(const char* what);

// Runs a kernel for all blocks of a grid. `shared` is the size of its dynamic shared memory. So many blocks that follow each
// other along x run together.
void launch(Index grid, u32 threads, size_t shared, const std::function<void()>& kernel, u32 cluster = 1);

// Shared memory: the dynamic part, then the static ones in the order in which a block first gets to them. All bytes are
// 0xff at first, which is NaN in any format. What lies between and behind the parts must stay so.
constexpr size_t SHARED_BYTES = 1 << 18;
extern unsigned char* shared_memory;
void* static_shared(int line, size_t bytes);
// The place of `bytes` in shared memory, which have to be aligned as if they were one number.
void* at_shared(u32 address, size_t bytes);

// Where lanes wait for each other.
struct Meeting {
    u32 arrived = 0;
};
void meet(Meeting& meeting, u32 lanes);
void meet_block();
void meet_warp();
void meet_cluster();
// So many lanes of the block that name the same barrier.
void meet_some(u32 barrier, u32 lanes);

// What a lane hands to the others of its warp, and the instruction for which it does.
struct Offer {
    const char* instruction;
    u32 word[6];
};
// Waits for the whole warp, and returns what its 32 lanes have handed in. Good until the lane's next but one exchange.
const Offer* exchange(const Offer& mine);

// Work in the background, which is committed in groups and waited for by how many of them may still be under way.
template <typename Work>
class Background {
    u32 committed = 0;
    std::vector<std::pair<u32, Work>> works;

  public:
    void add(const Work& work) { works.push_back({committed, work}); }
    void commit() { committed++; }
    // The work that has to be done when all but the last `pending` groups are to be complete.
    std::vector<Work> due(u32 pending) {
        std::vector<Work> now;
        std::vector<std::pair<u32, Work>> later;
        for (auto& [group, work] : works) {
            if (group + pending < committed) now.push_back(work);
            else later.push_back({group, work});
        }
        works.swap(later);
        return now;
    }
};

// 16 bytes from global to shared memory.
struct Copy {
    u32 to;
    const void* from;
    bool valid;
    void make() const;
};
// A product of the tensor cores that a warpgroup does together: this lane's part of the sums, and both operands. The right one
// has so many columns; the left one is in shared memory, or each lane has a part of it in registers. Unless it is to `add`, the
// sums begin with it.
struct Product {
    float* sum;
    u64 left, right;
    u32 columns;
    bool transposed, add, held;
    u32 registers[4];
};
// A lane's own state, besides its stack.
struct Lane {
    u32 exchanges = 0;
    Background<Copy> copies;
    Background<Product> products;
};
Lane& lane();
// Whether copies are made at once in this block.
bool copies_at_once();

// Addresses in the shared memory of blocks of a cluster: SHARED_BYTES apart, those of one's own block are below that.
u32 rank();
u32 map_shared(u32 address, u32 rank);

// Barriers in shared memory, which count arrivals and bytes.
void init_barrier(u32 address, u32 arrivals);
void arrive(u32 address, u32 arrivals, u32 bytes_expected);
void wait(u32 address, u32 parity);
// Does what writes `bytes` and tells the barrier at once, or when no lane can go on without.
void in_background(u32 barrier, u32 bytes, const std::function<void()>& write);

// Many bytes from global to shared memory in the background, of which a barrier is told when they have come.
void copy_bulk(u32 to, const void* from, u32 bytes, u32 barrier);

}  // namespace machine
