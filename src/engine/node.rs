//! Between a file's metadata and the repository's node.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};

use crate::domain::tree::{FileKind, FileMeta};

/// Bits of Go's `FileMode`, which is what the format stores.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHARDEV: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

/// Special bits of `st_mode` and what they are called in Go's.
const SPECIAL: [(u32, u32); 3] = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];

/// `ctime` takes part in telling whether a file is unchanged since an earlier snapshot, as does the inode.
///
/// # Errors
/// When the format can't say it: a time thousands of years away, an attribute whose name is not UTF-8.
pub(super) fn node(name: &OsStr, meta: &FileMeta, ctime: Timestamp) -> io::Result<Node> {
    let nanos = i32::try_from(meta.mtime_ns).map_err(io::Error::other)?;
    let mtime = Timestamp::new(meta.mtime_s, nanos).map_err(io::Error::other)?;
    let is_directory = meta.kind == FileKind::Directory;
    let (node_type, go_type) = match &meta.kind {
        FileKind::File => (NodeType::File, 0),
        FileKind::Directory => (NodeType::Dir, GO_DIR),
        FileKind::Symlink { target } => (NodeType::from_link(target.as_ref()), GO_SYMLINK),
        FileKind::BlockDevice { rdev } => (NodeType::Dev { device: *rdev }, GO_DEVICE),
        FileKind::CharDevice { rdev } => (NodeType::Chardev { device: *rdev }, GO_DEVICE | GO_CHARDEV),
        FileKind::Fifo => (NodeType::Fifo, GO_FIFO),
        FileKind::Socket => (NodeType::Socket, GO_SOCKET),
    };
    let special = SPECIAL.iter().filter(|(bit, _)| meta.mode & bit != 0).fold(0, |mode, (_, go)| mode | go);
    let mut metadata = Metadata {
        mode: Some(meta.mode & 0o777 | special | go_type),
        mtime: Some(mtime),
        atime: Some(mtime),
        ctime: Some(ctime),
        uid: Some(meta.uid),
        gid: Some(meta.gid),
        inode: meta.inode,
        device_id: if meta.links > 1 && !is_directory { meta.device } else { 0 },
        size: if meta.kind == FileKind::File { meta.size } else { 0 },
        links: if is_directory { 0 } else { meta.links },
        ..Metadata::default()
    };
    if !meta.xattrs.is_empty() {
        let attributes = meta.xattrs.iter().map(|(name, value)| {
            let name = name.to_str().ok_or_else(|| io::Error::other("an attribute's name is not UTF-8"))?;
            Ok(serde_json::json!({ "name": name, "value": STANDARD.encode(value) }))
        });
        let attributes = attributes.collect::<io::Result<Vec<_>>>()?;
        // The library doesn't export the type of an attribute.
        metadata.extended_attributes = serde_json::from_value(attributes.into())?;
    }
    Ok(Node::new_node(name, node_type, metadata))
}

/// Permission and special bits as `chmod` takes them.
pub(super) fn mode(node: &Node) -> u32 {
    let go = node.meta.mode.unwrap_or(if node.is_dir() { 0o755 } else { 0o644 });
    SPECIAL.iter().filter(|(_, name)| go & name != 0).fold(go & 0o777, |mode, (bit, _)| mode | bit)
}

/// Seconds, and nanoseconds counted forward from them, as `utimensat` takes them.
pub(super) fn seconds(time: Timestamp) -> (i64, i64) {
    let (seconds, nanos) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) }
}

/// A name that can be created in one directory and leads nowhere else.
pub(super) fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(kind: FileKind) -> FileMeta {
        FileMeta {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime_s: 0,
            mtime_ns: 0,
            size: 0,
            links: 1,
            inode: 7,
            device: 8,
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn special_bits_survive_the_format() {
        for bits in [0, 0o4755, 0o2750, 0o1777, 0o7000, 0o777] {
            let node =
                node(OsStr::new("x"), &FileMeta { mode: bits, ..meta(FileKind::Directory) }, Timestamp::UNIX_EPOCH)
                    .expect("a node");
            assert_eq!(mode(&node), bits);
            assert_ne!(node.meta.mode.expect("a mode") & GO_DIR, 0);
        }
    }

    #[test]
    fn times_before_1970_survive_the_format() {
        for (mtime_s, mtime_ns) in [(0, 0), (-1, 1), (-1, 999_999_999), (-86_400, 0), (5, 7)] {
            let node =
                node(OsStr::new("x"), &FileMeta { mtime_s, mtime_ns, ..meta(FileKind::File) }, Timestamp::UNIX_EPOCH)
                    .expect("a node");
            assert_eq!(seconds(node.meta.mtime.expect("a time")), (mtime_s, i64::from(mtime_ns)));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_plain() {
        for name in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(!is_plain(OsStr::new(name)), "{name:?}");
        }
        assert!(is_plain(OsStr::new("...")) && is_plain(OsStr::new("a\nb")));
    }
}
