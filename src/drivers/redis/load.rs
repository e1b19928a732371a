//! Loading a dump into empty databases of the live server: through a donor, a server of our own that reads the file and
//! hands its keys over one by one.
//!
//! **Invariant:** a database is marked before the first key goes into it, so that what a load that died left is found.
//! The live server never gets more than its memory has place for: it would evict what is live.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ::redis::{Cmd, Value, cmd};

use super::census::{self, Census};
use super::mark::{self, MARK};
use super::private::{self, Private};
use super::session::{self, Session};
use super::survey::{self, Memory, Survey};
use super::swap::{self, Beside, Functions, Loaded, Pair};
use super::tools::Version;
use super::{Redis, swap::cannot};
use crate::drivers::Error;

/// Bytes of keys that are on their way at a time; one larger key goes alone.
const BATCH: u64 = 4 << 20;
/// After so many bytes the live server's memory is looked at again.
const LOOK: u64 = 16 << 20;

pub(super) fn load(driver: &Redis, scratch: &Path, dump: &mut dyn Read) -> Result<Beside, Error> {
    let mut live = driver.address.open(Some(session::ANSWER))?;
    let mut beside = swap::beside(scratch);
    swap::remove(&mut live, &beside.id, false)?;
    let survey = survey::look(&mut live, &driver.tools)?;
    if !survey.obstacles.is_empty() {
        return Err(cannot(driver, survey.obstacles.join("; ")));
    }
    let file = scratch.join(private::FILE);
    receive(&file, dump)?;
    let loaded = fill(driver, &mut live, &survey, scratch, &beside.id);
    // The live server has it now, or never will.
    fs::remove_file(&file).map_err(Error::io("remove", &file))?;
    match loaded {
        Ok(loaded) => {
            beside.loaded = Some(loaded);
            Ok(beside)
        }
        Err(error) => {
            let removed = driver.address.open(Some(session::ANSWER));
            if let Err(left) = removed.and_then(|mut session| swap::remove(&mut session, &beside.id, false)) {
                tracing::warn!(server = driver.address.server(), error = %left, "what a failed load left stays for now");
            }
            Err(error)
        }
    }
}

/// Writes the dump to a file, and looks whether it can be one.
fn receive(path: &Path, dump: &mut dyn Read) -> Result<(), Error> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut head = Vec::new();
    loop {
        let read = match dump.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Input(error)),
        };
        head.extend_from_slice(&buffer[..read.min(6 - head.len().min(6))]);
        file.write_all(&buffer[..read]).map_err(Error::io("write", path))?;
    }
    if !head.starts_with(b"REDIS") && head != b"VALKEY" {
        return Err(Error::Corrupt { path: path.to_owned(), detail: "it is not a dump of Redis or Valkey".to_owned() });
    }
    Ok(())
}

fn fill(driver: &Redis, live: &mut Session, survey: &Survey, scratch: &Path, id: &str) -> Result<Loaded, Error> {
    let mut donor = Private::start(&survey.tool, scratch, survey.databases.count.max(16))?;
    donor.session.patience(None)?;
    let census = Census::take(&mut donor.session)?;
    let functions = Functions::of(&mut donor.session)?;
    if functions.0.is_some() && survey.software.version < Version(7, 0) {
        return Err(cannot(driver, "the snapshot has functions, which a server before 7.0 does not know: upgrade it"));
    }
    let size = Memory::of(&donor.session.info(&["memory"])?).used;
    // What a server needs for nothing is there already.
    if let Some(why) = survey.memory.refuses(size.saturating_sub(1 << 20)) {
        return Err(cannot(driver, why));
    }
    let pairs = pairs(driver, survey, &census)?;
    for pair in &pairs {
        if !mark::mark(live, id, *pair)? {
            let why = format!("somebody began to use the database {} of the server: restore again", pair.spare);
            return Err(cannot(driver, why));
        }
    }
    live.patience(None)?;
    for pair in &pairs {
        hand_over(driver, &mut donor, live, *pair)?;
    }
    Ok(Loaded { pairs, census, functions })
}

/// Each database that is used here or there, and at least one, with a free one.
fn pairs(driver: &Redis, survey: &Survey, census: &Census) -> Result<Vec<Pair>, Error> {
    let databases = &survey.databases;
    let mut used: BTreeSet<u32> = databases.used.keys().copied().collect();
    used.extend(census.databases.iter().map(|(number, _)| *number));
    if used.is_empty() {
        used.insert(0);
    }
    let free = databases.free(&used);
    let beyond = used.iter().any(|number| *number >= databases.count);
    if beyond || free.len() < used.len() {
        let highest = used.last().map_or(0, |number| number + 1);
        let needed = u32::try_from(used.len()).unwrap_or(u32::MAX).max(highest);
        return Err(cannot(driver, survey::too_few(databases.count, needed)));
    }
    Ok(used.into_iter().zip(free).map(|(live, spare)| Pair { live, spare }).collect())
}

/// All keys of one database of the donor, but those whose time has passed.
fn hand_over(driver: &Redis, donor: &mut Private, live: &mut Session, pair: Pair) -> Result<(), Error> {
    let exact = donor.tool.software.version >= Version(7, 0);
    donor.session.select(pair.live)?;
    live.select(pair.spare)?;
    let mut cursor = 0;
    let mut since = 0;
    loop {
        let (next, keys) = census::scan(&mut donor.session, cursor)?;
        let questions: Vec<Cmd> = keys
            .iter()
            .flat_map(|key| {
                let expiry = cmd(if exact { "PEXPIRETIME" } else { "PTTL" }).arg(key).take();
                [expiry, cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(1).take()]
            })
            .collect();
        let now = now();
        let replies = donor.session.run_all("look at the keys of", &questions)?;
        let mut batch: Vec<(&[u8], i64)> = Vec::new();
        let mut size = 0;
        for (key, reply) in keys.iter().zip(replies.chunks(2)) {
            let expires = match reply.first() {
                Some(Value::Int(-1)) => 0,
                Some(Value::Int(time @ 0..)) => {
                    if exact {
                        *time
                    } else {
                        now + time
                    }
                }
                // Its time has passed.
                _ => continue,
            };
            let bytes = if let Some(Value::Int(bytes)) = reply.get(1) { u64::try_from(*bytes).unwrap_or(0) } else { 0 };
            if size + bytes > BATCH && !batch.is_empty() {
                pass(donor, live, &batch)?;
                batch.clear();
                since += size;
                size = 0;
            }
            batch.push((key, expires));
            size += bytes;
        }
        pass(donor, live, &batch)?;
        since += size;
        if since > LOOK {
            since = 0;
            let info = live.info(&["memory"])?;
            if let Some(why) = Memory::of(&info).refuses(LOOK) {
                return Err(cannot(driver, why));
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

fn pass(donor: &mut Private, live: &mut Session, batch: &[(&[u8], i64)]) -> Result<(), Error> {
    let questions: Vec<Cmd> = batch.iter().map(|(key, _)| cmd("DUMP").arg(*key).take()).collect();
    let values = donor.session.run_all("read the keys of", &questions)?;
    let commands: Vec<Cmd> = batch
        .iter()
        .zip(values)
        // One that is gone meanwhile expired.
        .filter_map(
            |((key, expires), value)| {
                if let Value::BulkString(value) = value { Some((*key, *expires, value)) } else { None }
            },
        )
        // The mark is ours, also in a dump that somebody made by hand in the middle of a restore.
        .filter(|(key, ..)| *key != MARK.as_bytes())
        .map(|(key, expires, value)| {
            let mut restore = cmd("RESTORE");
            restore.arg(key).arg(expires).arg(value).arg("ABSTTL").arg("REPLACE").take()
        })
        .collect();
    live.run_all("write to", &commands).map(drop)
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
