//! The directory of a server's cores, which the worker and the server both see.
//!
//! **Invariant:** nothing is written or removed there but in directories that a restore made, or that the server has let go.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Component, Path, PathBuf};

use walkdir::WalkDir;

use crate::drivers::Error;

/// Stands in every core's directory.
const PROPERTIES: &str = "core.properties";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// As the worker sees it.
    path: PathBuf,
    /// The live core's directory in it.
    live: PathBuf,
}

impl Place {
    /// `directory`: the live core's as the server sees it, which may be another path than the worker's.
    pub fn find(path: &Path, directory: &Path) -> Result<Self, String> {
        let shown = path.display();
        let real =
            path.canonicalize().map_err(|error| format!("the declared path {shown} can't be opened ({error})"))?;
        let Some(live) = tail(&real, directory) else {
            return Err(format!(
                "in the declared path {shown} there is not the core's directory, which the server has at {}: declare the \
                 directory of the server's cores",
                directory.display()
            ));
        };
        let place = Self { path: real, live };
        place.try_out().map_err(|error| {
            format!("no directory can be made in {shown} ({error}): give the user that runs the worker write access")
        })?;
        Ok(place)
    }

    /// Where the nodes of a cluster take an index from, and what they call it: that is known where one of their cores lies
    /// there; elsewhere it is the same path.
    pub fn shared<'a>(path: &Path, cores: impl Iterator<Item = &'a Path>) -> Result<(Self, PathBuf), String> {
        let shown = path.display();
        let real =
            path.canonicalize().map_err(|error| format!("the declared path {shown} can't be opened ({error})"))?;
        let found = cores.into_iter().find_map(|core| Some((tail(&real, core)?, core)));
        let (live, seen) = match found {
            Some((live, core)) => {
                let depth = live.components().count();
                let seen = core.ancestors().nth(depth).unwrap_or(path).to_owned();
                (live, seen)
            }
            None => (PathBuf::new(), path.to_owned()),
        };
        let place = Self { path: real, live };
        place.try_out().map_err(|error| {
            format!("no directory can be made in {shown} ({error}): give the user that runs the worker write access")
        })?;
        Ok((place, seen))
    }

    /// Where no core is yet.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let path = path.canonicalize().map_err(Error::reading("open", path))?;
        Ok(Self { live: PathBuf::new(), path })
    }

    fn try_out(&self) -> io::Result<()> {
        self.trial()?.close()
    }

    /// A directory that nobody else can mean.
    pub fn trial(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(".stillpoint-").tempdir_in(&self.path)
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What the live core's own properties say besides what belongs to the one directory: its settings.
    pub fn settings(&self) -> Result<Vec<(String, String)>, Error> {
        let file = self.path.join(&self.live).join(PROPERTIES);
        let text = fs::read_to_string(&file).map_err(Error::reading("read", &file))?;
        Ok(properties(&text))
    }

    /// Makes a directory anew for a core; nobody else looks into it until it is handed over.
    pub fn make(&self, name: &str) -> Result<PathBuf, Error> {
        let directory = self.directory(name);
        self.remove_unused(name)?;
        DirBuilder::new().mode(0o700).create(&directory).map_err(Error::io("create", &directory))?;
        Ok(directory)
    }

    /// Gives a directory's content to the server: to whom the cores belong, else to their group.
    pub fn hand_over(&self, name: &str) -> Result<(), Error> {
        let top = fs::metadata(self.path.join(&self.live)).map_err(Error::io("look at", &self.path))?;
        let is_root = rustix::process::geteuid().is_root();
        for entry in WalkDir::new(self.directory(name)) {
            let entry = entry.map_err(|error| Error::io("look through", &self.path)(io::Error::from(error)))?;
            let (path, of) = (entry.path(), entry.metadata().map_err(|error| Error::io("look at", &self.path)(error))?);
            let owner = is_root.then_some(top.uid()).filter(|owner| *owner != of.uid());
            let group = Some(top.gid()).filter(|group| *group != of.gid());
            if owner.is_some() || group.is_some() {
                chown(path, owner, group).map_err(Error::io("give to the server", path))?;
            }
            let mode = if of.is_dir() { 0o2770 } else { 0o660 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(Error::io("give to the server", path))?;
            if of.is_dir() {
                File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("write", path))?;
            }
        }
        File::open(&self.path).and_then(|top| top.sync_all()).map_err(Error::io("write", &self.path))
    }

    /// Removes what a restore made under that name and no core came to be of; not there: nothing to do.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is a core's.
    pub fn remove_unused(&self, name: &str) -> Result<(), Error> {
        remove_left(&self.directory(name))
    }
}

/// The end of a core's path that is the same for the worker.
fn tail(path: &Path, directory: &Path) -> Option<PathBuf> {
    let parts: Vec<Component<'_>> = directory.components().collect();
    let mut tails = (1..parts.len()).map(|count| parts[parts.len() - count..].iter().collect::<PathBuf>());
    tails.find(|tail| path.join(tail).join(PROPERTIES).is_file())
}

/// A core's directory as the worker sees it.
pub(super) fn seen(path: &Path, directory: &Path) -> Option<PathBuf> {
    tail(path, directory).map(|tail| path.join(tail))
}

/// Has the name that the server wrote for a core outlast a loss of power.
pub(super) fn settle(directory: &Path) -> Result<(), Error> {
    let file = directory.join(PROPERTIES);
    File::open(&file).and_then(|file| file.sync_all()).map_err(Error::io("write", &file))
}

/// Removes what is left of a core that the server has let go.
///
/// # Errors
/// [`Error::Exists`] when a core is there again.
pub(super) fn remove_left(directory: &Path) -> Result<(), Error> {
    if directory.join(PROPERTIES).exists() {
        return Err(Error::Exists { path: directory.to_owned() });
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", directory)(error)),
        _ => Ok(()),
    }
}

/// Keys that say where one core is, or what it is called: they are not another core's.
const OWN: [&str; 4] = ["name", "configSet", "configSetProperties", "transient"];

/// Of a file of properties, but for [`OWN`].
fn properties(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let pairs = lines.filter_map(|line| line.split_once(['=', ':']));
    let pairs = pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().replace("\\:", ":").replace("\\=", "=")));
    pairs.filter(|(key, _)| !OWN.contains(&key.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cores_settings_go_along_and_its_name_does_not() {
        let text =
            "#Written by CorePropertiesLocator\n#Sun Nov 22\nname=shop\nloadOnStartup=true\nurl=http\\://x\\=1\n\n";
        let pairs = [("loadOnStartup", "true"), ("url", "http://x=1")];
        assert_eq!(properties(text), pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_shared_directory_is_known_by_a_nodes_core_or_has_one_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let core = directory.path().join("group/shop_shard1_replica_n1");
        fs::create_dir_all(&core).expect("created");
        fs::write(core.join(PROPERTIES), "name=shop").expect("written");
        let seen = |cores: &[&str]| Place::shared(directory.path(), cores.iter().map(Path::new)).expect("a place").1;
        let there = "/var/solr/data/group/shop_shard1_replica_n1";
        assert_eq!(seen(&["/elsewhere/x", there]), Path::new("/var/solr/data"));
        assert_eq!(seen(&["/var/solr/data/other"]), directory.path());
        assert!(Place::shared(&directory.path().join("none"), [].into_iter()).is_err());
    }

    #[test]
    fn the_cores_directory_is_found_under_another_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let core = directory.path().join("group/shop");
        fs::create_dir_all(&core).expect("created");
        fs::write(core.join(PROPERTIES), "name=shop").expect("written");
        let place = Place::find(directory.path(), Path::new("/var/solr/data/group/shop")).expect("found");
        assert_eq!(place.live, Path::new("group/shop"));
        let refused = Place::find(directory.path(), Path::new("/var/solr/data/other")).expect_err("not there");
        assert!(refused.contains("/var/solr/data/other"), "{refused}");
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "nothing is left of the trial");
    }
}
