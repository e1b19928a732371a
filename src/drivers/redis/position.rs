//! The point at which a server stands: moves with every write by anybody, and not by itself.
//!
//! **Invariant:** it errs to "moved". What is written appears in the replication offset, always, once there is a backlog,
//! which a replica leaves behind. The offset alone moves too often: with a ping to replicas every 10 s, which is just 14
//! bytes and nothing else is, and with every key whose time has passed. The counter of changes (`dirty`) moves with no
//! such thing; but a save sets it back, and modules may write past it. So a changed offset is taken for nobody's writing
//! only where both say so.

use super::session::{Info, Session};
use crate::drivers::{Error, Position};

/// `*1\r\n$4\r\nPING\r\n`: no write is as short.
const PING: u64 = 14;

/// A connection that is asked, and what it said last.
pub(super) struct Watch {
    session: Session,
    /// Of the server's process.
    run: String,
    modules: bool,
    last: Option<Standing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    replication: String,
    pub offset: u64,
    dirty: u64,
    saves: (u64, u64),
    saving: bool,
    expired: u64,
    /// The offset at the last write that was seen.
    written: u64,
}

impl Standing {
    fn of(info: &Info) -> Self {
        let offset = info.number("master_repl_offset");
        Self {
            replication: info.text("master_replid").to_owned(),
            offset,
            dirty: info.number("rdb_changes_since_last_save"),
            saves: (info.number("rdb_last_save_time"), info.number("rdb_saves")),
            saving: info.number("rdb_bgsave_in_progress") > 0,
            expired: info.number("expired_keys"),
            written: offset,
        }
    }

    /// Whether all that happened from `earlier` to this one was nobody's writing.
    fn is_quiet_since(&self, earlier: &Self, modules: bool) -> bool {
        if self.replication != earlier.replication {
            return false;
        }
        let counted = self.dirty == earlier.dirty && self.saves == earlier.saves;
        if self.offset == earlier.offset {
            // Without a backlog the offset stands still; a save alone is nobody's writing.
            return counted || self.saves != earlier.saves && self.offset > 0;
        }
        let ping = self.offset.checked_sub(earlier.offset) == Some(PING);
        let expiry = self.expired > earlier.expired && !modules && !self.saving && !earlier.saving;
        counted && (ping || expiry)
    }
}

impl Watch {
    pub fn new(mut session: Session, server: &Info) -> Result<Self, Error> {
        let modules = !session.info(&["modules"])?.text("module").is_empty();
        Ok(Self { session, run: server.text("run_id").to_owned(), modules, last: None })
    }

    /// Opened anew after the connection was lost: positions compare with those of before.
    pub fn going_on(self, before: Option<&Self>) -> Self {
        let last = before.filter(|before| before.run == self.run).and_then(|before| before.last.clone());
        Self { last, ..self }
    }

    pub fn read(&mut self) -> Result<(Position, Standing), Error> {
        let mut now = Standing::of(&self.session.info(&["replication", "persistence", "stats"])?);
        if let Some(last) = &self.last
            && now.is_quiet_since(last, self.modules)
        {
            now.written = last.written;
        }
        self.last = Some(now.clone());
        let place = format!("offset {} of replication {}, server process {}", now.written, now.replication, self.run);
        Ok((Position::new(place), now))
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;

    fn standing() -> Standing {
        let (replication, saves) = ("a".to_owned(), (1, 1));
        Standing { replication, offset: 100, dirty: 5, saves, saving: false, expired: 0, written: 100 }
    }

    #[test]
    fn only_what_nobody_wrote_is_quiet() {
        let quiet = |change: fn(&mut Standing)| {
            let mut now = standing();
            change(&mut now);
            now.is_quiet_since(&standing(), false)
        };
        assert!(quiet(|_| {}));
        assert!(quiet(|now| now.offset += 14), "a ping");
        assert!(quiet(|now| (now.offset, now.expired) = (145, 1)), "a key expired");
        assert!(quiet(|now| (now.dirty, now.saves) = (0, (9, 2))), "a save");
        assert!(!quiet(|now| (now.offset, now.dirty) = (114, 6)), "a write as long as a ping");
        assert!(!quiet(|now| (now.offset, now.expired, now.dirty) = (145, 1, 6)), "a write while a key expired");
        assert!(!quiet(|now| (now.offset, now.dirty, now.saves) = (190, 5, (9, 2))), "as many writes as before a save");
        assert!(!quiet(|now| now.offset = 130), "a module wrote");
        assert!(!quiet(|now| now.dirty = 6), "a write without a backlog");
        assert!(!quiet(|now| now.replication = "b".to_owned()), "another server took over");
    }
}
