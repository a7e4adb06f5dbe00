//! Parameter ids that are the same in every process.
//!
//! burn draws ids at random. Here the id of a parameter is a hash of its path, so that whatever goes by ids finds it
//! again in another process or another model of the same settings: burn's own optimizers, which key their state by them,
//! and its records, which hold them. The trainer and the checkpoints of `relay-train` go by paths and need no ids.
//!
//! So two models have the same ids where they have the same paths. In one module of both, burn's optimizers would take one for the
//! other: give one of them ids of its own first, by a `ModuleMapper`.

use burn::module::ParamId;

/// The id of the parameter at `path`, such as `block.layers.0.query` (64-bit FNV-1a): the same in every model that has such a path.
/// A module that holds two models needs other ids for one of them, or burn's optimizers take one for the other.
pub fn stable_id(path: &str) -> ParamId {
    ParamId::from(hash(path))
}

/// 64-bit FNV-1a of a text.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
