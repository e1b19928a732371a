//! Takes space that nothing uses any more out of the repository, a bounded step at a time.
//!
//! Packs without any use are only *marked* in the index; those that were marked long enough ago go. Between the two,
//! whoever still reads by an older index finds everything (a restore whose lease was lost, another restic program).
//!
//! **Invariant:** nothing is ever deleted at once, and nothing while the entries that are there are not exactly those
//! that were found: the library takes a directory that it cannot read for an empty one, and then all data for unused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Span;
use rustic_core::{Id, LimitOption, PruneOptions};

use super::error::Error;
use super::guard::Entries;
use super::job::Job;
use super::{Repository, Use, parse};
use crate::domain::Bytes;

/// What one step may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Packs stay that long after they were marked: longer than anybody may read by an older index.
    pub keep: Duration,
    /// Of packs that are used in part, so much at most is written anew.
    pub repack: Bytes,
}

/// Of this share of the used data, unused data within used packs is left alone: taking it out costs more than it frees.
const TOLERATED_PERCENT: u64 = 5;

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Left the storage.
    pub freed: Bytes,
    /// Will leave it once it was marked long enough. Packs that no index names (a step or a snapshot died) are marked too,
    /// with the next change of the index, and not counted before.
    pub marked: Bytes,
    /// Was written anew without what is unused.
    pub repacked: Bytes,
    /// There is more to do than one step may.
    pub is_partial: bool,
}

impl Repository {
    /// One step. `expected`: ids of entries that must be there; without one of them nothing is touched.
    ///
    /// # Errors
    /// [`Error::Locked`] while another program uses the repository; [`Error::Damaged`] when an expected entry is missing, or
    /// what is used is; [`Error::LeaseLost`].
    pub fn prune(&self, job: &Job, limits: &Limits, expected: &[String]) -> Result<Pruned, Error> {
        job.end(self.prune_step(job, limits, expected))
    }

    fn prune_step(&self, job: &Job, limits: &Limits, expected: &[String]) -> Result<Pruned, Error> {
        self.heed_every_lock()?;
        let entries: BTreeSet<Id> = self.entry_ids()?.into_iter().collect();
        for id in expected {
            if !entries.contains(&parse(id)?) {
                return Err(Error::wrong(format!("the entry {id}, which the catalogue has,")));
            }
        }
        let (repository, _) = self.session(job, Entries::Prune { entries: Arc::new(entries) }, Use::reading())?;
        let mut options = PruneOptions::default();
        options.max_repack = limits.repack.0.to_string().parse().expect("a number of bytes");
        options.max_unused = LimitOption::Percentage(TOLERATED_PERCENT);
        options.keep_delete = Span::new().seconds(i64::try_from(limits.keep.as_secs()).unwrap_or(i64::MAX));
        options.instant_delete = false;
        job.pool()?.install(|| {
            let plan =
                repository.prune_plan(&options).map_err(|error| Error::damaged("what its entries use", error))?;
            let (packs, size) = (plan.stats.size_to_delete, plan.stats.size_sum());
            let pruned = Pruned {
                freed: Bytes(packs.remove),
                marked: Bytes(packs.keep + size.remove + size.repack),
                repacked: Bytes(size.repack - size.repackrm),
                is_partial: size.repack > 0
                    && size.unused_after_prune() > size.used * TOLERATED_PERCENT / (100 - TOLERATED_PERCENT),
            };
            job.check()?;
            self.heed_every_lock()?;
            repository.prune(&options, plan).map_err(|error| self.location().storage("pruned", error))?;
            Ok(pruned)
        })
    }
}
