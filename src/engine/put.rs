//! Everything about a restored file but its content: owner, attributes, permissions, times, links, devices.
//!
//! **Invariant:** what the process may not set is counted and told, never a silent difference; everything else that
//! fails is an error.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::node::{mode, seconds};
use super::restore::Restorer;

impl Restorer<'_> {
    /// Owner, attributes, permissions, times. In this order: a new owner clears special bits and capabilities, and what
    /// may not be written can't be given attributes.
    pub(super) fn finish(&self, file: impl AsFd, node: &Node) -> io::Result<()> {
        let (owner, group) = (node.meta.uid.map(Uid::from_raw), node.meta.gid.map(Gid::from_raw));
        self.owned(rustix::fs::fchown(&file, owner, group), || rustix::fs::fstat(&file), node)?;
        for attribute in &node.meta.extended_attributes {
            let value = attribute.value.as_deref().unwrap_or_default();
            let set = rustix::fs::fsetxattr(&file, attribute.name.as_str(), value, XattrFlags::empty());
            self.attributed(set)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode(node)))?;
        rustix::fs::futimens(&file, &times(node))?;
        Ok(())
    }

    /// Links, pipes, sockets, devices.
    pub(super) fn special(&self, directory: &OwnedFd, name: &OsStr, node: &Node) -> io::Result<()> {
        let make = |kind, device| rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device);
        match &node.node_type {
            NodeType::Symlink { .. } => rustix::fs::symlinkat(node.node_type.to_link(), directory, name)?,
            NodeType::Fifo => make(FileType::Fifo, 0)?,
            NodeType::Socket => make(FileType::Socket, 0)?,
            NodeType::Dev { device } => make(FileType::BlockDevice, *device)?,
            NodeType::Chardev { device } => make(FileType::CharacterDevice, *device)?,
            NodeType::File | NodeType::Dir => {}
        }
        let (owner, group) = (node.meta.uid.map(Uid::from_raw), node.meta.gid.map(Gid::from_raw));
        let owned = rustix::fs::chownat(directory, name, owner, group, AtFlags::SYMLINK_NOFOLLOW);
        self.owned(owned, || rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW), node)?;
        // The kernel's own path of what is open: no name on the way can be a link.
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        path.push(name);
        for attribute in &node.meta.extended_attributes {
            let value = attribute.value.as_deref().unwrap_or_default();
            self.attributed(rustix::fs::lsetxattr(&path, attribute.name.as_str(), value, XattrFlags::empty()))?;
        }
        if !node.is_symlink() {
            rustix::fs::chmodat(directory, name, Mode::from_raw_mode(mode(node)), AtFlags::empty())?;
        }
        rustix::fs::utimensat(directory, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn owned(
        &self,
        set: rustix::io::Result<()>,
        stat: impl FnOnce() -> rustix::io::Result<rustix::fs::Stat>,
        node: &Node,
    ) -> io::Result<()> {
        match set {
            // Only root may give files away.
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {
                let stat = stat()?;
                let is_right = node.meta.uid.is_none_or(|uid| uid == stat.st_uid)
                    && node.meta.gid.is_none_or(|gid| gid == stat.st_gid);
                self.unowned.fetch_add(u64::from(!is_right), Ordering::Relaxed);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn attributed(&self, set: rustix::io::Result<()>) -> io::Result<()> {
        match set {
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                self.unattributed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    pub(super) fn link(&self, first: &Path, second: &Path) -> io::Result<()> {
        let (from, to) = (self.parent(first)?, self.parent(second)?);
        let (first, second) = (first.file_name().unwrap_or_default(), second.file_name().unwrap_or_default());
        Ok(rustix::fs::linkat(from, first, to, second, AtFlags::empty())?)
    }

    fn parent(&self, relative: &Path) -> io::Result<OwnedFd> {
        self.below(relative.parent().unwrap_or(Path::new("")))
    }
}

fn times(node: &Node) -> Timestamps {
    let spec = |time| {
        let (tv_sec, tv_nsec) = seconds(time);
        Timespec { tv_sec, tv_nsec }
    };
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let modified = node.meta.mtime.map_or(omit, spec);
    Timestamps { last_access: node.meta.atime.map_or(modified, spec), last_modification: modified }
}
