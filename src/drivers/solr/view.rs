//! A commit point that the server keeps under a name until it was read.
//!
//! **Invariant:** what is read is that commit point's files, which nobody changes; the server removes none of them while it is
//! kept. Its name is given up when the view goes, also when it never was opened.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::archive::{self, Contents, PartContents};
use super::client::{ANSWER, Client, is_too_slow};
use super::config::{self, Digests};
use super::index::Part;
use super::said::{Done, Number, Pinned, Pins};
use super::survey::Survey;
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, Position, View};

/// Begins the names of views; then come seconds and chance.
const PREFIX: &str = "stillpoint-view-";
/// A name that is so old was left by a worker that died: no reading takes that long.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is done before the hold.
#[derive(Debug)]
pub(super) struct Ready {
    survey: Survey,
    /// As it was then.
    configuration: Digests,
}

impl Ready {
    pub fn new(survey: Survey) -> Result<Self, Error> {
        for part in &survey.parts {
            forget_stale(part)?;
        }
        let Some(first) = survey.parts.first() else { return Err(Error::Cancelled) };
        let configuration = config::digests(&first.client, &first.core)?;
        // What is pending is written now, so that in the hold little is.
        first.client.commit(&survey.index, super::client::WORK)?;
        Ok(Self { survey, configuration })
    }

    /// In the hold: a hard commit, and its name.
    pub fn open(self, position: Position, within: Duration) -> Result<SolrView, Error> {
        let deadline = Instant::now() + within;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let index = self.survey.index.clone();
        let too_slow = |error: Error| {
            let by = "its hard commit took longer (a large merge, or a slow disk)".to_owned();
            if is_too_slow(&error) { Error::Blocked { database: index.clone(), waited: within, by } } else { error }
        };
        let Some(first) = self.survey.parts.first() else { return Err(Error::Cancelled) };
        first.client.commit(&self.survey.index, left()).map_err(too_slow)?;
        let name = name();
        let mut pins = Vec::new();
        for part in &self.survey.parts {
            pins.push(Pin::new(part.clone(), name.clone(), left()).map_err(too_slow)?);
        }
        Ok(SolrView { survey: self.survey, configuration: self.configuration, position, pins, contents: None })
    }
}

fn name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{PREFIX}{now}-{:016x}", rand::random::<u64>())
}

/// Seconds since 1970 at which a view of that name was opened.
fn opened(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn forget_stale(part: &Part) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for name in pins(&part.client, &part.core)?.snapshots.into_keys() {
        if opened(&name).is_some_and(|at| now > Duration::from_secs(at) + STALE) {
            forget(&part.client, &part.core, &name)?;
        }
    }
    Ok(())
}

pub(super) fn pins(client: &Client, core: &str) -> Result<Pins, Error> {
    client.get("list the named commit points of", "admin/cores", &[("action", "LISTSNAPSHOTS"), ("core", core)], ANSWER)
}

/// Keeps the newest commit point of a core under a name, and gives its generation.
pub(super) fn keep(client: &Client, core: &str, name: &str, within: Duration) -> Result<u64, Error> {
    let asked = [("action", "CREATESNAPSHOT"), ("core", core), ("commitName", name)];
    let Pinned { generation: Number(generation) } =
        client.get("name a commit point of", "admin/cores", &asked, within)?;
    Ok(generation)
}

/// Lets the server remove a commit point that was kept.
pub(super) fn forget(client: &Client, core: &str, name: &str) -> Result<(), Error> {
    let asked = [("action", "DELETESNAPSHOT"), ("core", core), ("commitName", name)];
    client.get::<Done>("give up a commit point of", "admin/cores", &asked, ANSWER).map(drop)
}

/// A commit point that is kept. Given up on a thread: whoever drops it may be in a hold (R17).
#[derive(Debug)]
struct Pin {
    part: Part,
    name: String,
    generation: u64,
}

impl Pin {
    fn new(part: Part, name: String, within: Duration) -> Result<Self, Error> {
        // Before it is known whether it came to be: an answer may be lost.
        let mut pin = Self { part, name, generation: 0 };
        pin.generation = keep(&pin.part.client, &pin.part.core, &pin.name, within)?;
        Ok(pin)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let (part, name) = (self.part.clone(), self.name.clone());
        let give_up = move || {
            if let Err(error) = forget(&part.client, &part.core, &name) {
                tracing::warn!(core = part.core, name, %error, "a commit point stays kept for a week");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("give up".to_owned()).spawn(give_up) {
            tracing::warn!(core = self.part.core, name = self.name, %error, "a commit point stays kept for a week");
        }
    }
}

pub(super) struct SolrView {
    survey: Survey,
    configuration: Digests,
    position: Position,
    pins: Vec<Pin>,
    contents: Option<Contents>,
}

impl SolrView {
    fn contents(&mut self) -> Result<&Contents, Error> {
        if self.contents.is_none() {
            let generations = self.pins.iter().map(|pin| pin.generation);
            let contents = contents(&self.survey, generations)?;
            if contents.configuration != self.configuration {
                let what = "the configuration".to_owned();
                return Err(Error::Redefined { database: self.survey.index.clone(), what });
            }
            self.contents = Some(contents);
        }
        self.contents.as_ref().ok_or(Error::Cancelled)
    }
}

/// What the commit points of these generations hold, and the configuration beside them.
pub(super) fn contents(survey: &Survey, generations: impl Iterator<Item = u64>) -> Result<Contents, Error> {
    let mut parts = Vec::new();
    for ((part, range), generation) in survey.parts.iter().zip(&survey.ranges).zip(generations) {
        let commit = part.commit(generation)?;
        let documents = part.documents(&commit)?;
        let (shard, range) = (part.shard.clone(), range.clone());
        parts.push(PartContents { shard, range, generation, documents, files: commit.files });
    }
    let Some(first) = survey.parts.first() else { return Err(Error::Cancelled) };
    let configuration = config::digests(&first.client, &first.core)?;
    let router = survey.cloud.as_ref().and_then(|cloud| cloud.settings.get("router").cloned());
    Ok(Contents::new(&survey.version, &survey.index, configuration, parts).with_router(router))
}

impl View for SolrView {
    fn position(&self) -> &Position {
        &self.position
    }

    fn version(&self) -> &str {
        &self.survey.version
    }

    fn size(&self) -> Bytes {
        self.contents.as_ref().map_or(self.survey.size, |contents| Bytes(contents.size()))
    }

    fn limits(&self) -> Vec<String> {
        let mut limits = self.survey.limits.clone();
        if self.contents.as_ref().is_some_and(|contents| !contents.is_counted()) {
            limits.push("The index's form is newer than this Stillpoint: its documents were not counted.".to_owned());
        }
        limits
    }

    /// The commit point is kept on the server, and burdens it with nothing but the room of files that were merged since.
    fn settle(&mut self, _scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        self.contents().map(drop)
    }

    fn facts(&mut self) -> Result<Facts, Error> {
        self.contents().map(Contents::facts)
    }

    fn dump(&mut self, _scratch: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        let contents = self.contents()?.clone();
        archive::write(&contents, &self.survey.parts, out, cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_views_name_tells_when_it_was_opened() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(opened(&name()).is_some_and(|at| at.abs_diff(now) < 60));
        for name in ["", "stillpoint-view-", "stillpoint-view-x-1", "stillpoint-aside-1-1", "nightly-5-1"] {
            assert_eq!(opened(name), None, "{name}");
        }
    }
}
