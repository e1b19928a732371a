//! Looking at a server: what it is and holds, what its account may, what can't be promised of it.

use std::collections::{BTreeMap, BTreeSet};

use ::redis::{Cmd, Value, cmd, from_redis_value};

use super::mark::{self, MARK};
use super::session::{Info, Session, Size};
use super::tools::{Family, Software, Tool, Tools, Version};
use crate::domain::Bytes;
use crate::drivers::Error;

/// Older ones know neither accounts nor a replica that loads without a file.
const OLDEST: Version = Version(6, 0);

/// Databases that are looked for.
const MOST: u32 = 256;

const FOR_SNAPSHOTS: &str = "+ping +info +select +exists +psync +replconf";
const FOR_RESTORES: &str = "+watch +unwatch +multi +exec +discard +swapdb +dbsize +restore +move +hset +hgetall +scan \
                            +type +pttl +flushdb +function";

/// What was found by looking.
#[derive(Debug)]
pub(super) struct Survey {
    pub server: Info,
    pub version: String,
    pub software: Software,
    /// What a private server is made from.
    pub tool: Tool,
    /// Where it takes replicas.
    pub port: u16,
    pub databases: Databases,
    pub memory: Memory,
    /// For the snapshot's page (R15).
    pub limits: Vec<String>,
    /// Why it can't be restored as things are, each with what to do.
    pub obstacles: Vec<String>,
}

/// The numbered databases of a server.
#[derive(Debug)]
pub(super) struct Databases {
    pub count: u32,
    /// Those that are not empty and not a restore's.
    pub used: BTreeMap<u32, Size>,
    /// Those that a restore uses, or left.
    pub marked: Vec<u32>,
}

impl Databases {
    pub fn look(session: &mut Session) -> Result<Self, Error> {
        let count = count(session)?;
        let databases = session.info(&["keyspace"])?.databases();
        let marked = mark::marked(session, databases.keys().copied())?;
        let used = databases.into_iter().filter(|(number, _)| !marked.contains(number)).collect();
        Ok(Self { count, used, marked })
    }

    /// Empty ones that are not reserved either, the last ones first: applications begin with the first.
    pub fn free(&self, reserved: &BTreeSet<u32>) -> Vec<u32> {
        let taken =
            |number: &u32| self.used.contains_key(number) || self.marked.contains(number) || reserved.contains(number);
        (0..self.count).rev().filter(|number| !taken(number)).collect()
    }
}

/// In bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub used: u64,
    /// 0: no limit is set.
    pub limit: u64,
    pub machine: u64,
}

impl Memory {
    pub fn of(info: &Info) -> Self {
        let machine = info.number("total_system_memory");
        Self { used: info.number("used_memory"), limit: info.number("maxmemory"), machine }
    }

    /// Why so much more has no place in it. Beyond its limit a server evicts what is live, or refuses its visitors.
    pub fn refuses(self, more: u64) -> Option<String> {
        let needed = self.used.saturating_add(more);
        let (limit, remedy) = if self.limit > 0 {
            (self.limit, "raise its `maxmemory`")
        } else if self.machine > 0 {
            (self.machine, "its machine needs more memory")
        } else {
            return None;
        };
        (needed > limit).then(|| {
            let (needed, limit) = (Bytes(needed), Bytes(limit));
            format!(
                "what is live and what is restored stand side by side and need {needed} of memory, of {limit}: {remedy}"
            )
        })
    }
}

/// The command that gives an account its rights.
pub(super) fn grant(user: &str) -> String {
    let user = if user.is_empty() { "default" } else { user };
    format!("ACL SETUSER {user} ~* {FOR_SNAPSHOTS} {FOR_RESTORES}")
}

/// # Errors
/// [`Error::Unsuitable`] for a replica, a cluster, a server that is too old; [`Error::NotPermitted`] when the account may
/// not attach a replica; [`Error::ToolMissing`].
pub(super) fn look(session: &mut Session, tools: &Tools) -> Result<Survey, Error> {
    let server = session.info(&["server", "cluster", "replication", "persistence", "memory"])?;
    let software = suitable(&server).map_err(|why| Error::Unsuitable { database: session.at.clone(), why })?;
    let tool = tools.find(software)?;
    may_attach(session)?;
    let databases = Databases::look(session)?;
    let memory = Memory::of(&server);
    // Two products whose numbers mean different things; Redis is what is meant where none is named.
    let version = match software.family {
        Family::Valkey => format!("Valkey {}", server.text("valkey_version")),
        Family::Redis => server.text("redis_version").to_owned(),
    };
    let mut survey = Survey {
        version,
        software,
        tool,
        port: u16::try_from(server.number("tcp_port")).unwrap_or(0),
        databases,
        memory,
        limits: Vec::new(),
        obstacles: Vec::new(),
        server,
    };
    survey.obstacles = obstacles(session, &survey)?;
    survey.limits = limits(session, &survey)?;
    Ok(survey)
}

fn suitable(server: &Info) -> Result<Software, String> {
    if server.text("redis_mode") == "sentinel" {
        return Err("is a sentinel, which holds no data: declare the server that it watches".to_owned());
    }
    if server.number("cluster_enabled") > 0 {
        return Err(
            "runs in cluster mode, in which no database can be put in another's place: not supported".to_owned()
        );
    }
    if server.text("role") == "slave" {
        let (host, port) = (server.text("master_host"), server.text("master_port"));
        return Err(format!("is a replica, which can't be restored into: declare its primary, {host}:{port}"));
    }
    if server.number("loading") > 0 {
        return Err("is still loading its data: wait until it is done".to_owned());
    }
    let software = Software::of(server).ok_or("does not say which version it is")?;
    if software.version < OLDEST {
        return Err(format!("is a Redis {}; {OLDEST} or later is needed: upgrade it", software.version));
    }
    if server.number("tcp_port") == 0 {
        return Err(
            "listens on no port without TLS, which a replica needs: set `port 6379` and `bind 127.0.0.1`".to_owned()
        );
    }
    Ok(software)
}

/// A take-over that a primary refuses in any case, unless the right to ask for it is refused first.
fn may_attach(session: &mut Session) -> Result<(), Error> {
    let asking =
        [cmd("REPLCONF").arg("capa").arg("psync2").take(), cmd("PSYNC").arg("?").arg(-1).arg("FAILOVER").take()];
    for reply in session.replies("ask whether a replica may attach to", &asking)? {
        if let Value::ServerError(error) = reply
            && error.code() == "NOPERM"
        {
            let user = if session.user.is_empty() { "default".to_owned() } else { session.user.clone() };
            let what = format!("attach a replica to the server at {}, which a snapshot is read from", session.at);
            return Err(Error::NotPermitted { remedy: grant(&user), user, what });
        }
    }
    Ok(())
}

fn count(session: &mut Session) -> Result<u32, Error> {
    let probes: Vec<Cmd> = (0..MOST).map(|number| cmd("SELECT").arg(number).take()).collect();
    let replies = session.replies("count the databases of", &probes)?;
    session.select(0)?;
    let there = replies.iter().take_while(|reply| !matches!(reply, Value::ServerError(_))).count();
    Ok(u32::try_from(there).unwrap_or(MOST))
}

fn obstacles(session: &mut Session, found: &Survey) -> Result<Vec<String>, Error> {
    let mut obstacles = Vec::new();
    // Queued and thrown away: an account without the right may not even queue.
    let key = |name: &str| cmd(name).arg(MARK).take();
    let needs = [
        cmd("MULTI"),
        cmd("SWAPDB").arg(0).arg(1).take(),
        cmd("RESTORE").arg(MARK).arg(0).arg("").arg("ABSTTL").take(),
        cmd("MOVE").arg(MARK).arg(1).take(),
        cmd("HSET").arg(MARK).arg("state").arg("").take(),
        key("HGETALL"),
        key("TYPE"),
        key("PTTL"),
        cmd("SCAN").arg(0).take(),
        cmd("DBSIZE"),
        cmd("FLUSHDB").arg("ASYNC").take(),
        cmd("DISCARD"),
    ];
    let replies = session.replies("ask for the rights on", &needs)?;
    if replies.iter().any(|reply| matches!(reply, Value::ServerError(error) if error.code() == "NOPERM")) {
        obstacles.push(format!("the account may not: {}", grant(&session.user)));
    }
    let needed = u32::try_from(found.databases.used.len().max(1)).unwrap_or(u32::MAX);
    if found.databases.count < needed.saturating_mul(2) {
        obstacles.push(too_few(found.databases.count, needed));
    }
    if !found.tool.software.writes_for(found.software) {
        obstacles.push(format!(
            "the worker's `{}` {} writes what the server, of version {}, does not understand: install the server's own \
             version there",
            found.tool.software.family.program(),
            found.tool.software.version,
            found.version
        ));
    }
    Ok(obstacles)
}

pub(super) fn too_few(count: u32, needed: u32) -> String {
    format!(
        "what is restored is loaded into empty databases of the server, {needed} beside as many that are used, and it has \
         {count}: set `databases {}` or more and restart it",
        needed.saturating_mul(2).max(16)
    )
}

fn limits(session: &mut Session, found: &Survey) -> Result<Vec<String>, Error> {
    let mut limits = vec!["Accounts (ACL), passwords and settings of the server are not in the snapshot.".to_owned()];
    let asked = session.replies("ask for the settings of", &[cmd("CONFIG").arg("GET").arg("save").take()])?.pop();
    let saves = asked.and_then(|reply| from_redis_value::<BTreeMap<String, String>>(reply).ok());
    let never_saved = saves.map(|saves| saves.get("save").is_some_and(String::is_empty));
    let how = match never_saved {
        _ if found.server.number("aof_enabled") > 0 => None,
        Some(true) => Some("The server writes nothing to disk (no `save`, no `appendonly`)"),
        Some(false) => None,
        None => Some(
            "The server keeps no log (`appendonly no`), and if it saves now and then (`save`) this account may not see",
        ),
    };
    limits.extend(
        how.map(|how| format!("{how}: after a restart of it perhaps only what is in a snapshot can come back.")),
    );
    let policy = found.server.text("maxmemory_policy");
    if found.memory.limit > 0 && policy != "noeviction" {
        limits
            .push(format!("The server removes keys by itself when its memory is full ({policy}): those are not here."));
    }
    let expiring: u64 = found.databases.used.values().map(|size| size.expiring).sum();
    if expiring > 0 {
        limits.push("Keys whose time to live has passed until they are restored do not come back.".to_owned());
    }
    let obstacles = found.obstacles.iter().cloned().chain(found.memory.refuses(found.memory.used));
    limits.extend(obstacles.map(|obstacle| format!("It can't be restored as things are: {obstacle}.")));
    Ok(limits)
}
