//! The installation's key, outside the database (R8): from `STILLPOINT_KEY`, or a file in the data directory that is
//! made at the first start.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::domain::Secret;
use crate::store::Sealer;

const VARIABLE: &str = "STILLPOINT_KEY";

/// 32 bytes.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// # Errors
    /// When there is a key that can't be used, or none can be stored.
    pub fn load(state: &Path) -> Result<Self> {
        if let Ok(text) = std::env::var(VARIABLE) {
            return Self::parse(&text).with_context(|| format!("{VARIABLE} must be 64 hexadecimal digits"));
        }
        let path = state.join("key");
        match fs::read_to_string(&path) {
            Ok(text) => {
                Self::parse(&text).with_context(|| format!("{} must hold 64 hexadecimal digits", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::make(&path),
            Err(error) => Err(error).with_context(|| format!("the key {} can't be read", path.display())),
        }
    }

    fn make(path: &Path) -> Result<Self> {
        let key = Self(rand::random());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("the key {} can't be stored", path.display()))?;
        file.write_all(hex::encode(key.0).as_bytes())?;
        file.sync_all()?;
        Ok(key)
    }

    fn parse(text: &str) -> Result<Self> {
        let bytes = hex::decode(text.trim())?;
        match bytes.try_into() {
            Ok(key) => Ok(Self(key)),
            Err(_) => bail!("it has another length"),
        }
    }

    pub fn sealer(&self) -> Sealer {
        Sealer::new(&self.0, &[])
    }

    /// With this, gateways and workers of one installation know each other.
    pub fn control(&self) -> Secret {
        let mut hash = Sha256::new_with_prefix(b"stillpoint gateway control");
        hash.update(self.0);
        Secret::new(hex::encode(hash.finalize()))
    }
}

/// Makes the data directory, closed to everybody else.
///
/// # Errors
/// When it can't be made or used.
pub fn make_state(state: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| format!("the data directory {} can't be made; choose another with --data", state.display()))
}
