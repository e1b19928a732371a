//! Who has a file open: the proof without which no database file is exchanged under a program's hands.
//!
//! **Invariant:** it answers "nobody" only when it really saw every process: from the machine's own process namespace,
//! with a right to look into all of them. SQLite's locks don't tell: outside WAL mode, an idle connection holds none.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and inode.
pub(in crate::drivers) type Identity = (u64, u64);

/// The number that the kernel gives to the namespace in which all processes are seen.
const ALL_PROCESSES: &str = "pid:[4026531836]";

/// Every regular file that is open on this machine, with who has it open.
#[derive(Debug, Default)]
pub(in crate::drivers) struct OpenFiles(HashMap<Identity, Vec<Opener>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drivers) struct Opener {
    pub process: u32,
    /// As the kernel names it; not what it was opened by when it was renamed since.
    pub path: PathBuf,
}

/// Why nothing is known, in words that follow "since".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::drivers) enum Unproven {
    #[error("the worker runs in a container and does not see the machine's other processes")]
    Contained,
    #[error("it lies on a network file system, where other machines may have it open")]
    Shared,
    #[error("the worker's user may not see what other users' processes have open")]
    Hidden,
    #[error("{program} (process {process}) has it open")]
    Open { program: String, process: u32 },
}

/// File systems that other machines may write to: their processes are seen nowhere here. By the magic numbers of
/// statfs(2); what can't be asked counts as one.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the field's type differs between architectures"
)]
pub(in crate::drivers) fn is_shared(path: &Path) -> bool {
    const NETWORK: [u32; 11] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB 2
        0x00c3_6400, // Ceph
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x5346_414f, // AFS
        0x0116_1970, // GFS 2
        0x7461_636f, // OCFS 2
        0x0bd0_0bd0, // Lustre
    ];
    rustix::fs::statfs(path).map_or(true, |found| NETWORK.contains(&(found.f_type as u32)))
}

impl OpenFiles {
    /// Looks at all processes: about 2 µs for each file, socket and pipe that is open.
    pub fn look() -> Result<Self, Unproven> {
        let namespace = fs::read_link("/proc/self/ns/pid").map_err(|_| Unproven::Contained)?;
        if namespace != Path::new(ALL_PROCESSES) {
            return Err(Unproven::Contained);
        }
        let mut found = Self::default();
        let mut saw_first = false;
        for entry in fs::read_dir("/proc").map_err(|_| Unproven::Hidden)?.flatten() {
            let name = entry.file_name();
            let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            saw_first |= process == 1;
            match found.add(process, &entry.path().join("fd")) {
                // On some machines that run tests, not even root may look into the first process.
                Err(Unproven::Hidden) if cfg!(test) && process == 1 => {}
                added => added?,
            }
        }
        // Where `/proc` hides other users' processes, it hides the first one.
        if saw_first { Ok(found) } else { Err(Unproven::Hidden) }
    }

    fn add(&mut self, process: u32, directory: &Path) -> Result<(), Unproven> {
        let is_gone = |error: &std::io::Error| {
            error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
        };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(_) => return Err(Unproven::Hidden),
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) if is_gone(&error) => continue,
                Err(_) => return Err(Unproven::Hidden),
            };
            let leads = match fs::read_link(&path) {
                Ok(leads) => leads,
                Err(error) if is_gone(&error) => continue,
                Err(_) => return Err(Unproven::Hidden),
            };
            // Sockets, pipes and the like.
            if !leads.is_absolute() {
                continue;
            }
            match fs::metadata(&path) {
                Ok(file) if file.is_file() => {
                    let opener = Opener { process, path: leads };
                    self.0.entry((file.dev(), file.ino())).or_default().push(opener);
                }
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(_) => return Err(Unproven::Hidden),
            }
        }
        Ok(())
    }

    /// Nobody has it open but this process, `ours` times.
    pub fn nobody(&self, file: Identity, ours: usize) -> Result<(), Unproven> {
        let mut ours = ours;
        for opener in self.0.get(&file).into_iter().flatten() {
            if opener.process == std::process::id() && ours > 0 {
                ours -= 1;
                continue;
            }
            let name = fs::read_to_string(format!("/proc/{}/comm", opener.process)).unwrap_or_default();
            let program = if name.is_empty() { "a program".to_owned() } else { name.trim_end().to_owned() };
            return Err(Unproven::Open { program, process: opener.process });
        }
        Ok(())
    }

    /// What is open below a directory, once each.
    pub fn below(&self, directory: &Path) -> impl Iterator<Item = (&Path, Identity)> {
        let first = self.0.iter().flat_map(|(file, openers)| openers.first().map(|opener| (&*opener.path, *file)));
        first.filter(move |(path, _)| path.starts_with(directory))
    }
}

/// Device and inode of what stands at a path.
pub(in crate::drivers) fn identity(path: &Path) -> std::io::Result<Identity> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::sqlite::program::Program;

    #[test]
    fn a_file_is_proven_closed_only_while_nobody_has_it_open() {
        let home = tempfile::TempDir::new().expect("a directory");
        let path = home.path().join("shop.db");
        let program = Program::create(&path, "delete");
        let Ok(open) = OpenFiles::look() else { return assert!(!rustix::process::geteuid().is_root() || contained()) };
        let file = identity(&path).expect("it is there");
        assert!(matches!(open.nobody(file, 0), Err(Unproven::Open { .. })));
        assert_eq!(open.below(home.path()).collect::<Vec<_>>(), [(&*path, file)]);
        drop(program);
        let open = OpenFiles::look().expect("as before");
        assert_eq!(open.nobody(file, 0), Ok(()));
        let ours = fs::File::open(&path).expect("it opens");
        let open = OpenFiles::look().expect("as before");
        assert!(open.nobody(file, 0).is_err());
        assert_eq!(open.nobody(file, 1), Ok(()));
        drop(ours);
    }

    fn contained() -> bool {
        OpenFiles::look().is_err_and(|why| why == Unproven::Contained)
    }
}
