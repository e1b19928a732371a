//! SQLite databases among a mount's files: recognised before pass 1, seen by a view in the hold, staged as one file.
//!
//! **Invariant:** what is treated as a database here is neither read by pass 1 nor copied as a file, and neither is what
//! SQLite keeps beside it. What SQLite refuses is an ordinary file again, and the snapshot's page says so (R15).

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::compare::path_of;
use super::found::{self, Head, Own};
use super::index::Index;
use super::scan::Scan;
use super::stage::{Stage, Staged};
use super::walk::{Listing, Tree, in_parallel, join};
use crate::domain::Bytes;
use crate::domain::manifest::DatabaseEntry;
use crate::domain::tree::{FileMeta, Override, Stamp};
use crate::drivers::service::{Service, View};
use crate::drivers::sqlite::{BESIDE, Sqlite, SqliteView, name_beside};
use crate::drivers::{Error, Position};

/// How long one view may take to open, inside the hold.
const VIEW: Duration = Duration::from_secs(1);

/// So many of one mount are opened; each takes up to six of the process' open files.
const MOST: usize = 64;

/// Which files of a mount may be opened as databases, while it is indexed.
#[derive(Debug)]
pub(super) struct Recognising {
    own: Own,
    opened: AtomicUsize,
}

impl Recognising {
    pub fn begin() -> Self {
        Self { own: Own::look(), opened: AtomicUsize::new(0) }
    }
}

/// One that SQLite opened.
#[derive(Debug, Clone)]
pub(super) struct Database {
    /// Below the mount's root.
    pub path: PathBuf,
    driver: Arc<Sqlite>,
}

/// All that the index knows of them.
#[derive(Debug, Default)]
pub(super) struct Databases {
    pub known: Vec<Database>,
    /// Their paths, and those of what SQLite keeps beside them.
    names: HashSet<Vec<u8>>,
    /// What only looks like one, with why.
    refused: Vec<(PathBuf, String)>,
}

/// A database as it stood in the hold.
pub(super) struct Viewed {
    database: Database,
    before: Position,
    view: SqliteView,
    /// Of the live file.
    meta: FileMeta,
}

impl std::fmt::Debug for Viewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewed")
            .field("path", &self.database.path)
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

/// What became of one in the hold.
enum Opened {
    Viewed(Box<Viewed>),
    Gone,
    Refused(String),
}

/// What was found in one directory.
#[derive(Debug, Default)]
pub(super) struct InDirectory {
    known: Vec<Database>,
    refused: Vec<(PathBuf, String)>,
    /// Names in this directory that are left out.
    pub names: HashSet<Vec<u8>>,
}

/// Databases that were made independent of the live ones. Their copies go with it.
#[derive(Debug, Default)]
pub struct Settled {
    pub entries: Vec<DatabaseEntry>,
    /// What is not promised, in sentences (R15).
    pub limits: Vec<String>,
    _views: Vec<Viewed>,
}

/// Before pass 1: asks SQLite of each file that looks like a database. One beside which nothing lies is at rest: it stays
/// the file that it is, byte for byte, unless it is written to before the hold (`Index::came_since`).
pub(super) fn recognise(begun: &Recognising, tree: &Tree, directory: &[u8], listing: &Listing) -> InDirectory {
    let mut found = InDirectory::default();
    for (name, stamp, head) in found::in_listing(tree, &begun.own, directory, listing) {
        let relative = path_of(join(directory, &name));
        if found::is_alone(tree, &relative) {
            continue;
        }
        if begun.opened.fetch_add(1, Ordering::Relaxed) >= MOST {
            found.refused.push((relative, format!("{MOST} others of this mount are open already")));
            continue;
        }
        match Database::open(tree, &relative, &stamp, &head) {
            Ok(Some(database)) => {
                found.names.extend(BESIDE.iter().map(|suffix| [&name[..], suffix.as_bytes()].concat()));
                found.names.insert(name);
                found.known.push(database);
            }
            Ok(None) => {}
            Err(why) => found.refused.push((relative, why)),
        }
    }
    found
}

impl Database {
    /// `None`: it is to be left as a file. Else why SQLite refused it.
    fn open(tree: &Tree, relative: &Path, stamp: &Stamp, head: &Head) -> Result<Option<Self>, String> {
        if head.linked {
            return Err("it has several names".to_owned());
        }
        let ours = rustix::process::geteuid();
        let log = name_beside(relative, BESIDE[0]);
        // SQLite would make a log of ours, which its programs might not be able to write. Nobody has it open.
        if head.wal && !ours.is_root() && ours.as_raw() != stamp.uid && !found::exists(tree, log.as_os_str().as_bytes())
        {
            return Ok(None);
        }
        let driver = Sqlite::found(tree.absolute(relative.as_os_str().as_bytes()));
        driver.position().map_err(|error| reason(&error))?;
        Ok(Some(Self { path: relative.to_owned(), driver: Arc::new(driver) }))
    }

    fn names(&self) -> impl Iterator<Item = PathBuf> {
        let path = &self.path;
        std::iter::once(path.clone()).chain(BESIDE.iter().map(move |suffix| name_beside(path, suffix)))
    }

    fn view(&self, stage: &Stage<'_>, before: Option<Position>, within: Duration) -> Result<Opened, Error> {
        let opened = match before {
            Some(before) => self.driver.view(within).map(|view| (before, view)),
            None => self.driver.position().and_then(|before| Ok((before, self.driver.view(within)?))),
        };
        match opened {
            Ok((before, view)) => match stage.describe(&self.path)? {
                Staged::Recorded(Override { meta, .. }) => {
                    Ok(Opened::Viewed(Box::new(Viewed { database: self.clone(), before, view, meta })))
                }
                _ => Ok(Opened::Gone),
            },
            Err(error) if refuses(&error) => {
                self.driver.close();
                Ok(Opened::Refused(reason(&error)))
            }
            Err(Error::Missing { .. }) => Ok(Opened::Gone),
            Err(error) => Err(error),
        }
    }
}

impl Databases {
    pub fn add(&mut self, directory: &[u8], found: InDirectory) {
        self.names.extend(found.names.iter().map(|name| join(directory, name)));
        self.known.extend(found.known);
        self.refused.extend(found.refused);
    }

    pub fn has(&self, path: &[u8]) -> bool {
        self.names.contains(path)
    }

    /// Paths that are neither read nor compared as files.
    pub fn left_out(&self) -> impl Iterator<Item = PathBuf> {
        self.names.iter().map(|name| path_of(name.clone()))
    }

    /// Where they stand. To be asked first of all, in the hold. `None`: SQLite refuses it now.
    pub fn positions(&self) -> Vec<Option<Position>> {
        self.known.iter().map(|database| database.driver.position().ok()).collect()
    }

    pub fn limits(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(|(path, why)| limit(path, why))
    }
}

/// What the hold makes of the databases.
#[derive(Debug, Default)]
pub(super) struct InHold {
    pub viewed: Vec<Viewed>,
    /// To be copied as files, whatever stands there.
    pub files: Vec<(PathBuf, Stamp)>,
    /// Paths that the snapshot is not to hold: what SQLite kept beside databases that were not known before.
    pub removed: Vec<PathBuf>,
    pub limits: Vec<String>,
}

impl Index {
    /// Opens the views: of the databases that were known, at their positions, and of those that came since, among what
    /// `changed`.
    pub(super) fn open_views<'a>(
        &self,
        stage: &Stage<'_>,
        positions: Vec<Option<Position>>,
        changed: impl Iterator<Item = (&'a PathBuf, &'a Stamp)>,
    ) -> Result<InHold, Error> {
        let late = self.came_since(stage.tree, changed)?;
        let known: HashSet<&Path> = self.databases.known.iter().map(|database| &*database.path).collect();
        let all: Vec<(Database, Option<Position>)> = self.databases.known.iter().cloned().zip(positions).collect();
        let all: Vec<_> = all.into_iter().chain(late.into_iter().map(|late| (late, None))).collect();
        let opened = in_parallel(&all, |(database, before)| {
            let left = stage.deadline.saturating_duration_since(Instant::now());
            database.view(stage, before.clone(), VIEW.min(left))
        })?;
        let mut hold = InHold::default();
        for ((database, _), opened) in all.iter().zip(opened) {
            let was_known = known.contains(&*database.path);
            match opened {
                Opened::Gone => {}
                Opened::Viewed(viewed) => {
                    if !was_known {
                        hold.removed.extend(database.names().skip(1));
                    }
                    hold.viewed.push(*viewed);
                }
                Opened::Refused(why) => {
                    hold.limits.push(limit(&database.path, &why));
                    // One that was not known is among the changed files anyway.
                    for name in database.names().filter(|_| was_known) {
                        let stamp = stage.tree.stamp_of(name.as_os_str().as_bytes())?;
                        hold.files.extend(stamp.filter(Stamp::is_file).map(|stamp| (name, stamp)));
                    }
                }
            }
        }
        Ok(hold)
    }

    fn came_since<'a>(
        &self,
        tree: &Tree,
        changed: impl Iterator<Item = (&'a PathBuf, &'a Stamp)>,
    ) -> Result<Vec<Database>, Error> {
        let mut candidates: Vec<&[u8]> = Vec::new();
        for (path, stamp) in changed.filter(|(_, stamp)| stamp.is_file()) {
            let path = path.as_os_str().as_bytes();
            match found::main_of(path) {
                Some(main) => candidates.push(main),
                None if found::is_named_so(path) && stamp.size > 0 => candidates.push(path),
                None => {}
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let own = Own::look();
        let found = in_parallel(&candidates, |path| {
            let relative = path_of(path.to_vec());
            let refused = self.databases.refused.iter().any(|(refused, _)| *refused == relative);
            if refused || self.databases.has(path) {
                return Ok(None);
            }
            let (Some(stamp), Some(head)) = (tree.stamp_of(path)?, found::head(tree, &own, path)) else {
                return Ok(None);
            };
            // One that SQLite refuses was copied as the file that it is when it was new.
            Ok(Database::open(tree, &relative, &stamp, &head).ok().flatten())
        })?;
        Ok(found.into_iter().flatten().collect())
    }
}

impl Scan {
    /// Whether it is a database that was seen by a view, or lies beside one.
    pub(super) fn is_of_database(&self, path: &Path) -> bool {
        let main = found::main_of(path.as_os_str().as_bytes());
        let viewed = |path: &[u8]| self.viewed.iter().any(|it| it.database.path.as_os_str().as_bytes() == path);
        viewed(path.as_os_str().as_bytes()) || main.is_some_and(viewed)
    }

    /// Databases that somebody wrote to since their positions were asked for.
    pub(super) fn databases_moved(&self) -> impl Iterator<Item = PathBuf> {
        let moved = |it: &&Viewed| it.database.driver.position().ok().as_ref() != Some(&it.before);
        self.viewed.iter().filter(moved).map(|it| it.database.path.clone())
    }

    /// To be called soon after the hold: copies the databases into `scratch`, a directory of their own, counts their
    /// rows, and puts the copies into [`Scan::changes`] under the databases' own paths. What is given must be kept
    /// until the copies were read.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Cancelled`], [`Error::Locked`].
    pub fn settle(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<Settled, Error> {
        let mut settled = Settled { limits: std::mem::take(&mut self.limits), ..Settled::default() };
        for (number, mut viewed) in std::mem::take(&mut self.viewed).into_iter().enumerate() {
            let own = scratch.join(number.to_string());
            std::fs::create_dir(&own).map_err(Error::io("create", &own))?;
            let path = viewed.database.path.clone();
            let copy = viewed.view.copied(&own, cancelled)?.to_owned();
            let size = std::fs::metadata(&copy).map_err(Error::io("look at", &copy))?.len();
            match viewed.view.facts() {
                Ok(facts) => settled.entries.push(DatabaseEntry {
                    path: path.to_string_lossy().into_owned(),
                    position: viewed.view.position().to_string(),
                    facts,
                }),
                Err(error) => settled.limits.push(format!(
                    "`{}` is kept as the database that it is, but its rows could not be counted: {}.",
                    path.display(),
                    reason(&error)
                )),
            }
            let limits = viewed.view.limits();
            settled.limits.extend(limits.into_iter().map(|limit| format!("`{}`: {limit}", path.display())));
            let meta = FileMeta { size, links: 1, ..viewed.meta.clone() };
            self.changes.overrides.insert(path, Override { meta, staged: Some(copy) });
            settled._views.push(viewed);
        }
        Ok(settled)
    }

    /// What [`Scan::settle`] will copy.
    pub fn database_bytes(&self) -> Bytes {
        self.viewed.iter().map(|viewed| viewed.view.bytes()).sum()
    }
}

fn refuses(error: &Error) -> bool {
    matches!(error, Error::Locked { .. } | Error::NotADatabase { .. } | Error::Corrupt { .. } | Error::Sqlite { .. })
        || matches!(error, Error::NotWritable { .. })
}

/// In words that follow "since".
fn reason(error: &Error) -> String {
    match error {
        Error::Locked { .. } => "another program kept it locked".to_owned(),
        Error::NotADatabase { .. } => "SQLite can't read it (it may be encrypted)".to_owned(),
        Error::Corrupt { .. } => "it is damaged".to_owned(),
        // Of what is opened for reading alone.
        Error::NotWritable { .. } => "an interrupted transaction was left beside it".to_owned(),
        Error::Sqlite { source, .. } => format!("SQLite refused it ({source})"),
        other => other.to_string(),
    }
}

fn limit(path: &Path, why: &str) -> String {
    format!("`{}` looks like a SQLite database, but was copied as an ordinary file, since {why}.", path.display())
}
