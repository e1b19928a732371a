//! The installation's key, outside the database (R8): from `STILLPOINT_KEY`, or a file in the data directory that is
//! made at the first start.
//!
//! **Invariant:** at every moment of a rotation the keys that [`Key::load`] finds open everything in the database: the
//! new one stands beside the old one before anything is sealed with it, and takes its place only afterwards.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::domain::Secret;
use crate::store::Sealer;

const VARIABLE: &str = "STILLPOINT_KEY";
/// The key before that one: what it sealed can still be opened.
const PREVIOUS: &str = "STILLPOINT_PREVIOUS_KEY";

type Bytes = [u8; 32];

/// The current one, and those that something may still be sealed with.
#[derive(Clone)]
pub struct Key {
    current: Bytes,
    earlier: Vec<Bytes>,
}

impl Key {
    /// # Errors
    /// When there is a key that can't be used, or none can be stored.
    pub fn load(state: &Path) -> Result<Self> {
        let mut earlier: Vec<Bytes> = variable(PREVIOUS)?.into_iter().collect();
        if let Some(current) = variable(VARIABLE)? {
            return Ok(Self { current, earlier });
        }
        let current = find_or_make(&current_file(state))?;
        // Of a rotation that did not come to its end.
        earlier.extend(read(&next_file(state))?);
        Ok(Self { current, earlier })
    }

    pub fn sealer(&self) -> Sealer {
        Sealer::new(&self.current, &self.earlier)
    }

    /// With this, gateways and workers of one installation know each other.
    pub fn control(&self) -> Secret {
        let mut hash = Sha256::new_with_prefix(b"stillpoint gateway control");
        hash.update(self.current);
        Secret::new(hex::encode(hash.finalize()))
    }
}

/// From one key to the next: [`Rotation::begin`], seal everything anew, [`Rotation::end`]. May be begun again after it
/// broke off anywhere.
pub struct Rotation {
    key: Key,
    /// `None`: both keys come from variables, and no file changes.
    state: Option<PathBuf>,
}

impl Rotation {
    /// The next key is stored durably before anything can be sealed with it.
    ///
    /// # Errors
    /// When there is no next key, or it can't be stored.
    pub fn begin(state: &Path) -> Result<Self> {
        let key = Key::load(state)?;
        if variable(VARIABLE)?.is_some() {
            if key.earlier.is_empty() {
                bail!(
                    "the key comes from {VARIABLE}: give it a new one (`openssl rand -hex 32`), the present one as \
                     {PREVIOUS}, and try again"
                );
            }
            return Ok(Self { key, state: None });
        }
        let current = find_or_make(&next_file(state))?;
        let earlier = [key.current].into_iter().chain(key.earlier).collect();
        Ok(Self { key: Key { current, earlier }, state: Some(state.to_owned()) })
    }

    /// Seals with the next key, opens with both.
    pub fn sealer(&self) -> Sealer {
        self.key.sealer()
    }

    /// Puts the next key in the old one's place, when nothing is sealed with that any more. Gives where the old one is
    /// kept, for copies of the database that were made before.
    ///
    /// # Errors
    /// When a file can't be changed; then both keys are still there.
    pub fn end(self) -> Result<Option<PathBuf>> {
        let Some(state) = self.state else { return Ok(None) };
        let (current, next) = (current_file(&state), next_file(&state));
        let name = fs::read(&current).map(|text| hex::encode(Sha256::digest(text)))?;
        let old = state.join(format!("key.old-{}", &name[..8]));
        match fs::hard_link(&current, &old) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("the old key can't be kept as {}", old.display()));
            }
            _ => sync(&state)?,
        }
        crate::jobs::crash_point("rotate: kept");
        fs::rename(&next, &current).with_context(|| format!("{} can't be replaced", current.display()))?;
        sync(&state)?;
        Ok(Some(old))
    }
}

fn current_file(state: &Path) -> PathBuf {
    state.join("key")
}

fn next_file(state: &Path) -> PathBuf {
    state.join("key.next")
}

fn variable(name: &str) -> Result<Option<Bytes>> {
    let text = std::env::var(name).ok();
    text.map(|text| parse(&text).with_context(|| format!("{name} must be 64 hexadecimal digits"))).transpose()
}

fn read(path: &Path) -> Result<Option<Bytes>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = parse(&text);
            key.map(Some).with_context(|| format!("{} must hold 64 hexadecimal digits", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the key {} can't be read", path.display())),
    }
}

/// Appears whole or not at all, readable by its owner only; of two processes that make it, both get the first one's.
fn find_or_make(path: &Path) -> Result<Bytes> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let failed = || format!("the key {} can't be stored", path.display());
    let directory = path.parent().expect("a key lies in the data directory");
    let mut file = NamedTempFile::new_in(directory).with_context(failed)?;
    file.write_all(hex::encode(rand::random::<Bytes>()).as_bytes()).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error).with_context(failed)?,
        _ => sync(directory)?,
    }
    read(path)?.with_context(failed)
}

fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("{} can't be written", directory.display()))
}

fn parse(text: &str) -> Result<Bytes> {
    let bytes = hex::decode(text.trim())?;
    match bytes.try_into() {
        Ok(key) => Ok(key),
        Err(_) => bail!("it has another length"),
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
