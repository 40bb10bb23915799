//! argon2id with 19 MiB and two passes (OWASP's first choice for argon2id), in memory that is set aside once. Taken anew for
//! each hash it would stay with the allocator: glibc keeps as much for every thread that has ever hashed, which are more than
//! hash at once, and a flood of logins would end the process at its memory limit.

use argon2::{
    Algorithm, Argon2, Block, Error, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory of a hash in KiB, which is as many blocks.
pub const MEMORY_KIB: u32 = 19 * 1024;
/// Passes.
pub const PASSES: u32 = 2;

/// The memory of all hashes that can be under way at once.
#[derive(Debug, Clone, Default)]
pub struct Memories {
    free: Arc<Mutex<Vec<Memory>>>,
}

impl Memories {
    /// Does some work with a memory, which nobody else has meanwhile. There are as many as were ever in use at once.
    pub fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free().pop();
        let mut memory = kept.unwrap_or_default();
        let done = work(&mut memory);
        free().push(memory);
        done
    }
}

/// The memory of one hash.
#[derive(Debug)]
pub struct Memory(Vec<Block>);

impl Default for Memory {
    fn default() -> Self {
        Self(vec![Block::default(); MEMORY_KIB as usize])
    }
}

impl Memory {
    /// Hashes a password into a PHC string.
    ///
    /// # Errors
    /// What argon2 says of a password that is longer than 4 GiB.
    pub fn hash(&mut self, password: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).unwrap_or_default();
        let (salt, mut output) = (rand::random::<[u8; 16]>(), [0; Params::DEFAULT_OUTPUT_LEN]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, &mut self.0)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(argon2.params())?,
            salt: Some(Salt::new(&salt)?),
            hash: Some(Output::new(&output)?),
        };
        Ok(hash.to_string())
    }

    /// Whether a password matches a PHC string. One that needs more memory than our own matches nothing.
    pub fn matches(&mut self, password: &str, hash: &str) -> bool {
        self.check(password, hash).is_ok_and(|matches| matches)
    }

    fn check(
        &mut self,
        password: &str,
        hash: &str,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let hash = PasswordHash::new(hash)?;
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            return Ok(false);
        };
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
        let params = Params::try_from(&hash)?;
        if params.block_count() > self.0.len() {
            return Err(Error::MemoryTooLittle.into());
        }
        let mut output = [0; Output::MAX_LENGTH];
        let output = output
            .get_mut(..expected.as_ref().len())
            .ok_or(Error::OutputTooLong)?;
        let argon2 = Argon2::new(algorithm, version, params);
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.0)?;
        // Takes as long wherever the two differ.
        Ok(Output::new(output)? == *expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{PasswordHasher, PasswordVerifier};

    #[test]
    fn a_hash_is_what_anybody_else_makes_and_takes() {
        let memories = Memories::default();
        let ours = memories.with(|memory| memory.hash("correct horse")).unwrap();
        let parsed = PasswordHash::new(&ours).unwrap();
        Argon2::default()
            .verify_password(b"correct horse", &parsed)
            .unwrap();
        Argon2::default()
            .verify_password(b"wrong horse", &parsed)
            .unwrap_err();
        for params in [
            Params::new(8 * 1024, 3, 4, Some(24)).unwrap(),
            Params::new(MEMORY_KIB, 1, 1, None).unwrap(),
        ] {
            let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let theirs = theirs
                .hash_password_with_salt(b"correct horse", b"some salt or other")
                .unwrap()
                .to_string();
            let matches = |password| memories.with(|memory| memory.matches(password, &theirs));
            assert!(matches("correct horse") && !matches("wrong horse"), "{theirs}");
        }
        assert_eq!(
            memories.free.lock().unwrap().len(),
            1,
            "one at a time needs one memory"
        );
    }

    #[test]
    fn what_needs_more_memory_matches_nothing() {
        let large = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(MEMORY_KIB + 8, 1, 1, None).unwrap(),
        );
        let large = large
            .hash_password_with_salt(b"correct horse", b"some salt or other")
            .unwrap()
            .to_string();
        let mut memory = Memory::default();
        assert!(!memory.matches("correct horse", &large));
        assert!(!memory.matches("", "no hash"));
    }
}
