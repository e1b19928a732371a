//! What a restore replaced, as a dump: read by a replica of the live server, in which the databases that stand aside are
//! put back in their places.
//!
//! **Invariant:** it is read once; what was counted is what is dumped, though keys expire meanwhile on the server.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ::redis::cmd;
use serde::{Deserialize, Serialize};

use super::census::Census;
use super::mark::MARK;
use super::private::Private;
use super::swap::{self, Aside};
use super::{Redis, session, survey};
use crate::domain::manifest::Facts;
use crate::drivers::Error;

/// Inside the swap's directory.
const DIRECTORY: &str = "aside";
/// Written when the dump is complete.
const COUNTED: &str = "counted.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    aside: Aside,
    facts: Facts,
}

pub(super) fn facts(driver: &Redis, aside: &Aside) -> Result<Facts, Error> {
    keep(driver, aside).map(|(_, facts)| facts)
}

pub(super) fn dump(driver: &Redis, aside: &Aside, out: &mut dyn Write) -> Result<(), Error> {
    let (file, _) = keep(driver, aside)?;
    copy(&file, out, &|| false).map(drop)
}

/// Hands a file on.
pub(super) fn copy(path: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
    let mut file = File::open(path).map_err(Error::reading("open", path))?;
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let read = io::Read::read(&mut file, &mut buffer).map_err(Error::reading("read", path))?;
        if read == 0 {
            out.flush().map_err(Error::Output)?;
            return Ok(total);
        }
        out.write_all(&buffer[..read]).map_err(Error::Output)?;
        total += read as u64;
    }
}

/// The dump's file, made now or before.
fn keep(driver: &Redis, aside: &Aside) -> Result<(PathBuf, Facts), Error> {
    let directory = aside.scratch.join(DIRECTORY);
    let (file, counted) = (directory.join(super::private::FILE), directory.join(COUNTED));
    if file.exists()
        && let Ok(text) = fs::read(&counted)
        && let Ok(kept) = serde_json::from_slice::<Kept>(&text)
        && kept.aside == *aside
    {
        return Ok((file, kept.facts));
    }
    remove_files(&aside.scratch)?;
    let mut session = driver.address.open(Some(session::ANSWER))?;
    if !swap::is_aside(&mut session, aside)? {
        return Err(Error::NotPrepared { path: directory });
    }
    let survey = survey::look(&mut session, &driver.tools)?;
    let mut private = Private::start(&survey.tool, &directory, survey.databases.count)?;
    private.attach(&driver.address, survey.port, &|| false)?;
    private.detach()?;
    let own = &mut private.session;
    own.patience(None)?;
    for (number, _) in own.info(&["keyspace"])?.databases() {
        if !aside.pairs.iter().any(|pair| pair.spare == number) {
            own.run_all("empty", &[cmd("SELECT").arg(number).take(), cmd("FLUSHDB")])?;
        }
    }
    for pair in &aside.pairs {
        let back = [
            cmd("SELECT").arg(pair.spare).take(),
            cmd("DEL").arg(MARK).take(),
            cmd("SWAPDB").arg(pair.live).arg(pair.spare).take(),
        ];
        own.run_all("put back", &back)?;
    }
    aside.functions.put(own)?;
    let facts = Census::take(own)?.facts();
    let file = private.save()?;
    drop(private);
    let text = serde_json::to_vec(&Kept { aside: aside.clone(), facts: facts.clone() }).map_err(io::Error::from);
    text.and_then(|text| fs::write(&counted, text)).map_err(Error::io("write", &counted))?;
    Ok((file, facts))
}

pub(super) fn remove_files(scratch: &Path) -> Result<(), Error> {
    let directory = scratch.join(DIRECTORY);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &directory)(error)),
        _ => Ok(()),
    }
}
