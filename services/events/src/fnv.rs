//! FNV-1a: a quick hash that is the same in every version of this code, for what is stored or shared.

/// The hash of the bytes so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// With more bytes.
    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.iter().fold(self.0, add))
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}
