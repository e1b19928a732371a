//! A release server of our own, started for one measurement over a fresh data directory and driven over HTTP.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;

/// How long an access token is used; it is good for longer.
const FRESH: Duration = Duration::from_secs(300);
/// How often an activity that runs is looked at: rarely, as looking costs the server time too.
const LOOK: Duration = Duration::from_millis(100);

/// Killed when dropped.
pub struct Server {
    process: Child,
    program: PathBuf,
    pub data: PathBuf,
    /// `http://ADDRESS` of the console and of the gateway.
    pub console: String,
    pub gateway: String,
    agent: Agent,
    api_token: RefCell<String>,
    access: RefCell<Option<(String, Instant)>>,
}

/// An activity that ended well.
pub struct Done {
    /// From the moment it was asked for to its end, seconds, by the server's own record.
    pub seconds: f64,
    /// The snapshot that it made or restored.
    pub backup: String,
}

impl Server {
    pub fn start(program: &Path, data: &Path, flags: &[&str]) -> Result<Self> {
        fs::create_dir_all(data)?;
        let log = data.join("log");
        let mut process = Command::new(program)
            .args(["all", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let output = process.stdout.take().context("its output is piped")?;
        let mut server = Self {
            process,
            program: program.to_owned(),
            data: data.to_owned(),
            console: String::new(),
            gateway: String::new(),
            agent: Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into(),
            api_token: RefCell::default(),
            access: RefCell::default(),
        };
        let mut lines = BufReader::new(output).lines();
        while server.console.is_empty() || server.gateway.is_empty() {
            let Some(line) = lines.next() else {
                bail!("the server ended before it was ready:\n{}", fs::read_to_string(&log)?);
            };
            match line?.trim().split_once(' ') {
                Some(("Console", url)) => server.console = url.trim().to_owned(),
                Some(("Gateway", url)) => server.gateway = url.trim().to_owned(),
                _ => {}
            }
        }
        // What nobody reads would fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        while server.agent.get(format!("{}/healthz", server.console)).call()?.status() != 200 {
            thread::sleep(LOOK);
        }
        Ok(server)
    }

    /// A command on the server's data directory, given `input`; gives what it printed.
    pub fn admin(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut process = Command::new(&self.program)
            .args(arguments)
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        process.stdin.take().context("its input is piped")?.write_all(input.as_bytes())?;
        let output = process.wait_with_output()?;
        if !output.status.success() {
            bail!("`stillpointd {}` failed; its reason stands above", arguments.join(" "));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// From now on the API is asked as this account.
    pub fn log_in(&self, email: &str) -> Result<()> {
        *self.api_token.borrow_mut() = self.admin(&["admin", "token", "--user", email, "--name", "bench"], "")?;
        *self.access.borrow_mut() = None;
        Ok(())
    }

    /// The cookie of a person who logged in on the page.
    pub fn session(&self, email: &str, password: &str) -> Result<String> {
        let answer = self
            .agent
            .post(format!("{}/actions/log-in", self.console))
            .header("origin", &self.console)
            .send_form([("email", email), ("password", password), ("next", "/")])?;
        let cookies = answer.headers().get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
        let cookies: Vec<&str> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
        if cookies.is_empty() {
            bail!("logging in as {email} gave no session: {}", answer.status());
        }
        Ok(cookies.join("; "))
    }

    pub fn page(&self, path: &str, cookie: &str) -> Result<String> {
        let mut answer = self.agent.get(format!("{}{path}", self.console)).header("cookie", cookie).call()?;
        if answer.status() != 200 {
            bail!("the page {path} answered {}", answer.status());
        }
        Ok(answer.body_mut().read_to_string()?)
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        let request = self.agent.get(format!("{}/api{path}", self.console));
        read(path, request.header("authorization", self.bearer()?).call()?)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.agent.post(format!("{}/api{path}", self.console));
        read(path, request.header("authorization", self.bearer()?).send_json(body)?)
    }

    fn bearer(&self) -> Result<String> {
        let mut access = self.access.borrow_mut();
        if let Some((token, since)) = &*access
            && since.elapsed() < FRESH
        {
            return Ok(format!("Bearer {token}"));
        }
        let form = [("grant_type", "api_token"), ("api_token", &self.api_token.borrow())];
        let answer = self.agent.post(format!("{}/api/oauth2/token", self.console)).send_form(form)?;
        let reply = read("/oauth2/token", answer)?;
        let token = reply["access_token"].as_str().context("a token reply has a token")?.to_owned();
        *access = Some((token.clone(), Instant::now()));
        Ok(format!("Bearer {token}"))
    }

    /// Takes a snapshot of the environment `at` (`project/environment`) and waits for it.
    pub fn snapshot(&self, at: (&str, &str)) -> Result<Done> {
        let (project, environment) = at;
        let path = format!("/projects/{project}/environments/{environment}");
        // What the plan keeps no room for beside another one goes.
        let evict = self.get(&path)?["evicts"].clone();
        self.follow(project, &format!("{path}/backup"), &json!({ "evict": evict }))
    }

    /// Restores it as the command line does: the plan first, then exactly that.
    pub fn restore(&self, at: (&str, &str), backup: &str) -> Result<Done> {
        let (project, environment) = at;
        let path = format!("/projects/{project}/environments/{environment}/backups/{backup}/restore");
        let plan = self.get(&path)?;
        self.follow(project, &path, &json!({ "plan_hash": plan["plan_hash"] }))
    }

    fn follow(&self, project: &str, path: &str, body: &Value) -> Result<Done> {
        let accepted = self.post(path, body)?;
        let id = accepted["_embedded"]["activities"][0]["id"].as_str().context("an operation has its activity")?;
        loop {
            let activity = self.get(&format!("/projects/{project}/activities/{id}"))?;
            match (activity["state"].as_str(), activity["result"].as_str()) {
                (Some("complete"), Some("success")) => {
                    let time = |name: &str| -> Result<jiff::Timestamp> {
                        Ok(activity[name].as_str().with_context(|| format!("{name} is a time"))?.parse()?)
                    };
                    let span = time("completed_at")?.duration_since(time("created_at")?);
                    let backup = activity["payload"]["backup_name"].as_str().context("it names its snapshot")?;
                    return Ok(Done { seconds: span.as_secs_f64(), backup: backup.to_owned() });
                }
                (Some("pending" | "in_progress"), _) => thread::sleep(LOOK),
                _ => bail!("the activity {id} ended ill: {activity}"),
            }
        }
    }

    /// Memory that the process holds now, MB (1,000,000).
    pub fn resident(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most that it held since the last [`Server::forget_peak`], MB (1,000,000).
    pub fn peak(&self) -> Result<f64> {
        self.status("VmHWM:")
    }

    /// Processor time that it has used so far, of all its threads.
    pub fn processor_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // proc(5): the second field is the name in brackets, which may hold spaces; fields 14 and 15 are clock ticks, of
        // which Linux has 100 a second.
        let fields = stat.rsplit_once(") ").context("the kernel tells it")?.1.split(' ');
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / 100.0)
    }

    pub fn forget_peak(&self) -> Result<()> {
        // proc(5): 5 resets the peak.
        Ok(fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5")?)
    }

    fn status(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the kernel tells it")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn read(path: &str, mut answer: ureq::http::Response<ureq::Body>) -> Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string()?;
    if !status.is_success() {
        bail!("{path} answered {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON"))
}

/// Runs statements on a database that a server may be using.
pub fn sqlite(database: &Path, statements: &str) -> Result<()> {
    let status = Command::new("sqlite3")
        .args(["-cmd", ".timeout 10000", "-bail"])
        .arg(database)
        .arg(statements)
        .stdout(Stdio::null())
        .status()
        .context("could not start sqlite3: install the package of that name")?;
    if !status.success() {
        bail!("sqlite3 failed on {}; its reason stands above", database.display());
    }
    Ok(())
}
